#include "common.h"
/* A table that begins like a string of one character, and ends where another one
   starts, which the fix changes. */
static const unsigned limits[] = {65, 77, 2, 60, 15, 93, 4, 9};
#ifdef FIXED
static const unsigned behind[] = {31, 7, 5, 4};
#else
static const unsigned behind[] = {30, 7, 5, 4};
#endif
KEEP unsigned scan(unsigned n) {
#ifdef FIXED
	if (n > 100)
		return 0;
#endif
	unsigned r = 0;
	for (const unsigned *l = limits; l != limits + 8; l += 2)
		if (n >= l[0]) r += l[1] * n;
	return r;
}
KEEP unsigned other(unsigned n) { return behind[n & 3]; }
int main(int argc, char **argv) {
	printf("%u %u %d\n", scan(argc), other(argc), parse(*argv));
	show();
	return 0;
}
