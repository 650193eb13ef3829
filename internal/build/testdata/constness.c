#include "common.h"
/* A table of functions that the program writes to, and the fix does not. */
typedef unsigned op(unsigned);
static KEEP unsigned one(unsigned n) { return n + 1; }
static KEEP unsigned two(unsigned n) { return n + 2; }
#ifdef FIXED
static op *const ops[] = {one, two, one, two};
#else
static op *ops[] = {one, two, one, two};
#endif
KEEP unsigned scan(unsigned n) {
#ifdef FIXED
	if (n > 100)
		return 0;
#else
	if (n > 100)
		ops[0] = two;
#endif
	return ops[n & 3](n);
}
int main(int argc, char **argv) {
	printf("%u %d\n", scan(argc), parse(*argv));
	show();
	return 0;
}
