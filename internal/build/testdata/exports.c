#include "common.h"
/* What a library exports it reaches through slots with its name. GROWN: an array has
   more elements; CONSTANT: a constant has another value, which the code that reads
   it does not show; UNUSED: nobody in the library does. */
#if defined(GROWN) && defined(FIXED)
int table[20];
#else
int table[10];
#endif
#if !defined(GROWN) && defined(FIXED)
const int limits[4] = {1, 2, 3, 5};
#else
const int limits[4] = {1, 2, 3, 4};
#endif
KEEP int fill(int n) {
#if defined(GROWN) && defined(FIXED)
	if (n > 100)
		return -1;
#endif
	return table[n] += n;
}
#ifndef UNUSED
KEEP int check(int n) { return n > limits[n & 3] ? -1 : n * 3; }
#endif
