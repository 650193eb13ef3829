#include "common.h"
/* The calls change places: no size is a new one. GROWN: one is. */
#ifdef FIXED
#define FIRST 2
#else
#define FIRST 1
#endif
#ifdef GROWN
#define LARGE 40
#else
#define LARGE 24
#endif
KEEP long *small(int n) {
	long *p = malloc(16);
	p[0] = n;
	p[1] = 4;
	return p;
}
KEEP long *make(int kind, int n) {
	long *p;
	if (kind == FIRST) {
		p = malloc(FIRST == 1 ? 16 : LARGE);
		p[0] = add(n);
		p[1] = n;
		return p;
	}
	if (kind == 3 - FIRST) {
		p = malloc(FIRST == 1 ? LARGE : 16);
		p[0] = add(n);
		p[1] = n;
		return p;
	}
	return small(n);
}
int main(int argc, char **argv) {
	(void)argv;
	long *p = make(argc, 7), *q = make(argc + 1, 8);
	printf("%ld %ld\n", p[1], q[1]);
	show();
	return 0;
}
