#include "common.h"
/* Thread-local variables. PLACES: two of one size change places. Otherwise one
   function uses another than before; in a library that does not know that they are
   its own until it is linked, all are found through slots that look alike. */
#if defined(PLACES) && defined(FIXED)
static __thread int two, one;
#elif defined(PLACES)
static __thread int one, two;
#else
__thread int one, two;
#endif
#ifdef PASSED /* by address */
KEEP int *more(int *p, int n) { *p += n; return p; }
#else
#define more(p, n) (*(p) += (n), (p))
#endif
KEEP int ones(int n) { return *more(&one, n * 3); }
KEEP int twos(int n) {
#ifdef FIXED
	if (n > 100)
		return -1;
#endif
	return *more(&two, n * 5);
}
#ifndef PLACES
KEEP int either(int n) {
#ifdef FIXED
	return one -= n * 7;
#else
	return two -= n * 7;
#endif
}
#endif
int main(int argc, char **argv) {
	printf("%d %d\n", ones(argc), twos(argc));
	return parse(*argv);
}
