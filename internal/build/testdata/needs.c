#include <stdio.h>
#include <stdlib.h>
/* A program and, with -DLIBRARY, the libraries that it is linked with. */
#ifdef LIBRARY
int NAME(int n) { return n; }
#else
__attribute__((noinline)) int check(int n)
{
#ifdef FIXED
	if (n > 90)
		return -1;
#endif
#ifdef ASKS
	n = rand();
#endif
#ifdef ASKS_IT
	int of_a(int);
	n = of_a(n);
#endif
	return n * n + n / 3;
}
int main(int argc, char **argv) { while (printf("%s %d\n", argv[0], check(argc--)) > 9); }
#endif
