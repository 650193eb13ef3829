// A library with a function that changes and one that threads are blocked in.
#include "victim.h"
int answer_of(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
int blocked_in_library(int fd) { char c; return (int)read(fd, &c, 1); }
