#include <stdio.h>
#include <stdlib.h>

typedef int step(int);

static step *script[8];
static int steps;

__attribute__((noinline, noipa)) static int twice(int n) { return 2 * n; }

#ifdef FIXED
__attribute__((noinline, noipa)) static int check(int n) { return n < 100 ? n : 100; }
#endif

__attribute__((noinline, noipa)) static void compile(int n) {
	script[0] = twice;
	steps = 1;
#ifdef FIXED
	script[1] = check;
	steps = 2;
#endif
	if (n < 0)
		abort();
}

int main(void) {
	char b[100];
	compile(1);
	while (fgets(b, sizeof b, stdin)) {
		int n = atoi(b);
		for (int i = 0; i < steps; i++)
			n = script[i](n);
		printf("%d\n", n);
	}
	return 0;
}
