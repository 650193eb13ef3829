#include "common.h"
/* A new variable takes the place of one that only a pointer leads to, and that
   moves on into what was a gap. */
static long first[4] __attribute__((aligned(32)));
#ifdef FIXED
static long reported;
#endif
static int numbers[2];
static long later[20] __attribute__((aligned(32)));
static int *pointer = numbers;
#ifdef FIXED
KEEP void report(long n) { reported += n; }
#endif
KEEP long put(int n, long v) { first[n & 3] += v; return later[n & 15] += v; }
KEEP long ask(int n) {
	long r = 0;
#ifdef FIXED
	if (n > 60) { report(n); return 60; }
#endif
	*pointer += n;
	if (put(n, 2) > 7) r = add(n);
	return r + *pointer + first[n & 3] + later[n & 7];
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%ld\n", ask(argc));
	show();
	return 0;
}
