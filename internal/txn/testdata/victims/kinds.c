// One function of every kind of parameter, reference and data that a fix touches.
#include "victim.h"
#include <ctype.h>

static int calls;                       // shared by old and new code
int exported = 7;
static const char *const names[] = {"zero", "one", "two", "three"};

NOINLINE int ints(int a, int b) { calls++; return OLD_NEW(a - b, a + b); }
NOINLINE double floats(double a, double b) { calls++; return OLD_NEW(a * b, a / b + 0.5); }
NOINLINE long stack(long a, long b, long c, long d, long e, long f, long g, long h) {
	calls++;
	return OLD_NEW(g - h, a + b + c + d + e + f + g + h);
}
NOINLINE const char *text(void) { return OLD_NEW("the old text", "the new text"); }
NOINLINE const char *table(int i) { calls++; return OLD_NEW(names[i & 3], names[(i + 1) & 3]); }
NOINLINE int statics(int n) {
#ifdef FIXED
	static int fresh = 40;                // a new variable with a value
	static int zeros;                     // a new variable without one
	fresh += n; zeros++;
	return fresh * 100 + zeros;
#else
	return n;
#endif
}
NOINLINE int cases(int n) {
	switch (n) {
	case 1: return OLD_NEW(11, 111);
	case 2: return 22;
	case 3: return 33;
	case 4: return OLD_NEW(44, 444);
	case 5: return 55;
	case 6: return 66 + exported;
	case 7: return 77;
	default: return -1;
	}
}
NOINLINE int imports(const char *s) {
#ifdef FIXED
	return (int)strlen(s) + toupper(s[0]) + (int)(strpbrk(s, "z") - s);
#else
	return (int)strlen(s);
#endif
}
NOINLINE int recursion(int n) { return n <= 0 ? OLD_NEW(1, 2) : recursion(n - 1) + 1; }
typedef int (*fn)(int, int);
static fn volatile pointer = ints;
NOINLINE int same(void) { calls++; return OLD_NEW(0, 100) + (pointer == ints); }

NOINLINE void questions(void);
int main(void) { questions(); }
NOINLINE void questions(void) {
	const char *q;
	answer("ready %d", getpid());
	while ((q = next())) {
		int n = atoi(q + 1);
		switch (*q) {
		case 'i': answer("%d", ints(n, 3)); break;
		case 'f': answer("%.2f", floats(n, 4)); break;
		case 's': answer("%ld", stack(1, 2, 3, 4, 5, 6, 7, n)); break;
		case 't': answer("%s", text()); break;
		case 'a': answer("%s", table(n)); break;
		case 'v': answer("%d", statics(n)); break;
		case 'c': answer("%d", cases(n)); break;
		case 'm': answer("%d", imports("abcz")); break;
		case 'r': answer("%d", recursion(n)); break;
		case 'p': answer("%d %d", pointer(n, 3), same()); break;
		case 'n': answer("%d", calls); break;
		default: answer("?");
		}
	}
}
