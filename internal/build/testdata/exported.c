#include "common.h"
/* The fix exports a function that was static. As a library: calls of it go through
   the PLT, by a name that no running program knows. */
#ifndef FIXED
static
#endif
KEEP int helper(int n) { total += n * 3; return n ^ calls; }
KEEP int user(int n) {
#ifdef FIXED
	if (n > 100)
		return -1;
#endif
	return helper(n) + helper(n + 1);
}
KEEP int other(int n) { return helper(n * 2) - 1; }
