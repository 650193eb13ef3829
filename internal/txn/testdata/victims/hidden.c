// Functions that no dynamic symbol names, two of them under one name.
#include "victim.h"

NOINLINE __attribute__((visibility("hidden"))) int hidden_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
static NOINLINE int local_function(int n) { ROOM; return OLD_NEW(n + 2, n + 2000); }
// A function inside a function: its symbol says twin.0, as another's does.
NOINLINE int one(int n) { auto __attribute__((noinline)) int twin(int m); int twin(int m) { return OLD_NEW(m + n + 3, m + n + 3000); } return twin(n) + twin(1); }
NOINLINE int two(int n) { auto __attribute__((noinline)) int twin(int m); int twin(int m) { return m * n - 4; } return twin(n) + twin(1); }

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d %d %d %d", hidden_function(1), local_function(1), one(1), two(1));
}
