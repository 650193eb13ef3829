// -DFIXED chooses another function for check when the program starts (-DWHICH), or
// makes check one that is chosen.
#include <stdio.h>

#define KEEP __attribute__((noinline, noclone, used))

KEEP static int slow(int n)
{
	for (int i = 0; i < n; i++)
		n ^= i * 33;
	return n + 1;
}
KEEP static int fast(int n) { return n > 100 ? n * 7 : n < 10 ? n * 5 : n + 2; }

#if defined FIXED || defined WHICH
__attribute__((used)) static int (*choose(void))(int)
{
#if defined FIXED
	return slow;
#else
	return fast;
#endif
}
int check(int) __attribute__((ifunc("choose")));
__attribute__((noinline)) int both(int n) { return fast(n) + slow(n); }
#else
__attribute__((noinline, noclone)) int check(int n) { return fast(n); }
__attribute__((noinline)) int both(int n) { return fast(n) + slow(n); }
#endif

int main(void)
{
	for (int c; (c = getchar()) != EOF;)
		printf("%d %d\n", check(c), both(c));
	return 0;
}
