// A library that asks for the realpath of glibc 2.2.5, which does not allocate, and
// fixed for that of 2.3, which does. -DBARE, without the C library: fixed for one in
// no version.
#include <stdio.h>
#include <stdlib.h>

#if !defined FIXED && !defined BARE
__asm__(".symver realpath,realpath@GLIBC_2.2.5");
#endif

__attribute__((noinline)) static int found(int n) {
#if !defined FIXED && defined BARE
	return n;
#else
	return n + (realpath("/", NULL) ? 10 : 0);
#endif
}

const char *lib_ask(char what, int n, char *out, int size) {
	snprintf(out, size, "%c%d", what, found(n));
	return out;
}
