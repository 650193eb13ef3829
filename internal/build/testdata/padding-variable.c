#include "common.h"
/* The new variable lies where the base image has padding, before an aligned
   one. HELD: what is before it is an array whose address is taken, so it may
   have been a part of that. */
#ifdef HELD
long first[1] = {3};
KEEP long *held(int n) { return first + n; }
#else
long first = 3;
KEEP long held(int n) { return first += n; }
#endif
#ifdef FIXED
int second = 5;
#endif
long table[8] __attribute__((aligned(64))) = {1, 2, 3, 4, 5, 6, 7, 8};
KEEP long at(int n) { return table[n & 7] += n; }
KEEP long take(const char *t) {
	long n = parse(t);
#ifdef FIXED
	if (n > second)
		n = second++;
#endif
	return n + add(n);
}
int main(int argc, char **argv) {
	printf("%ld %ld %d\n", take(argv[0]), at(argc), held(1) != 0);
	show();
	return 0;
}
