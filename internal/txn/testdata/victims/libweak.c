// A library whose fix asks for weak symbols that it did not use before: one that
// the C library defines and one that nobody does, but for -DPROVIDES.
#include <stdio.h>
#include <unistd.h>

#ifdef PROVIDES
int nobody_defines_this(int n) { return n + 500; }
#else
extern int nobody_defines_this(int) __attribute__((weak));
extern int getpagesize(void) __attribute__((weak));

__attribute__((noinline)) static int answer_to(int n) {
#ifdef FIXED
	return (nobody_defines_this ? nobody_defines_this(n) : 20) + (getpagesize ? getpagesize() : 7);
#else
	return n;
#endif
}

const char *lib_ask(char what, int n, char *out, int size) {
	snprintf(out, size, "%c%d", what, answer_to(n));
	return out;
}
#endif
