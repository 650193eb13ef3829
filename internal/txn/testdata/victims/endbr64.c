// With -fcf-protection every function that a pointer may lead to begins with
// endbr64, which must stay.
#include "victim.h"

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
static int (*volatile pointer)(int) = fixed_function;

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d %d", pointer(1), memcmp((void *)pointer, "\xf3\x0f\x1e\xfa", 4) == 0);
}
