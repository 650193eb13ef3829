#include "common.h"
static int first = 1;
#ifndef FIXED
static int middle = 2;
#endif
static int second = 3;
KEEP int step(int n) {
	first += n;
#ifndef FIXED
	middle += first;
	second += middle;
#else
	second += first * 2;
#endif
	return first + second;
}
KEEP int peek(void) { return second; }
KEEP int poke(void) { return first; }
int main(int argc, char **argv) {
	(void)argv;
	do {
		printf("%d %d %d\n", step(argc), peek(), poke());
		show();
	} while (puts("") < 0);
	return 0;
}
