/* A switch whose table leads to the cold part of its function first. */
#include <stdio.h>
#define API __attribute__((noinline, noipa))
__attribute__((cold, noinline, noipa)) int complain(int a) { fputs("no", stderr); return -a; }
API int one(int a) { return a ^ 0x51; }
API int two(int a) { return a * 7 + 1; }
API int three(int a) { return a / 3; }
API int four(int a) { return a % 11; }
API int dispatch(unsigned op, int a)
{
#ifdef FIXED
	if (a > 100)
		return 7;
#endif
	switch (op) {
	case 0: return complain(a);
	case 1: return complain(a + 1) + 1;
	case 2: return two(a);
	case 3: return three(a);
	case 4: return four(a);
	case 5: return one(two(a));
	}
	return three(a) + four(a + 1);
}
int main(int n, char **v) { return dispatch(n, n); }
