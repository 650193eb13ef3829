#include "common.h"
/* A function loses its static variable, and another gets one of the same name: the
   numbers that the compiler adds do not tell them apart. */
KEEP int first(int n) { static int count = 5; count += n; return count * 3; }
KEEP int second(int n) {
#ifndef FIXED
	static int count = 5;
	count += n;
	n = count;
#endif
	return n * 7 + calls;
}
KEEP int third(int n) {
#ifdef FIXED
	static int count = 5;
	count += n;
	n = count;
#endif
	return n * 11 + calls;
}
int main(int argc, char **argv) {
	printf("%d %d %d %d\n", first(argc), second(argc), third(argc), parse(*argv));
	show();
	return 0;
}
