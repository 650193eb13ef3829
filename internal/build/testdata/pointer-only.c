#include "common.h"
/* Only a pointer into its middle leads to an array, until the fix names it: it is
   the array that the program has, and not a new variable that ends where the
   pointer leads. ZERO: nothing tells it from padding but its length. */
#ifdef ZERO
static int middle[20] __attribute__((section(".data")));
#else
static int middle[20] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6};
#endif
static int *at = &middle[8];
static long behind = 3;
KEEP long step(int n) {
	if (behind % 7 < 6)
		at -= n;
	return *at += n + behind++;
}
KEEP long take(const char *t) {
	long n = parse(t);
#ifdef FIXED
	for (int i = 0; i < 20; i++)
		n += middle[i] * i;
#endif
	return n + add(n);
}
int main(int argc, char **argv) {
	printf("%ld %ld\n", take(argv[0]), step(argc));
	show();
	return 0;
}
