// Everything that a program at a fixed address holds absolute addresses for:
// immediates, displacements with an index, switch tables, tables of functions and
// strings, the ends of arrays, labels.
#include "victim.h"

#ifndef IMPORT // its address is taken in both versions
#define IMPORT strcmp
#endif
static int calls;
static int numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static long sums[8];
int global[4] = {10, 20, 30, 40};
static const char *kept = "nothing";

NOINLINE static int add(int a) { ROOM; return a + OLD_NEW(1, 100); }
NOINLINE static int twice(int a) { return a * 2; }
NOINLINE static int less(int a) { ROOM; return a - OLD_NEW(1, 100); }
static int (*const functions[])(int) = {add, twice, less};
static const char *const names[] = {"zero", "one", "two", OLD_NEW("three", "drei"), "four"};
static int (*volatile pointer)(int) = add;

// A table of functions.
NOINLINE int through(int k, int n) { calls++; return functions[k % 3](n) + OLD_NEW(0, 1000); }
// A changed table of strings.
NOINLINE const char *name(int k) { calls++; return names[k % 5]; }
// movq $string, variable(%rip)
NOINLINE const char *keep(int k) {
	const char *was = kept;
	kept = k ? OLD_NEW("old string", "new string") : "nothing";
	return was;
}
// A pointer that walks to an end which is the start of something else.
NOINLINE int total(int n) {
	int t = 0;
	for (int *p = numbers; p < numbers + 8; p++) t += *p OLD_NEW(+, -) n;
	return t;
}
// The end of a global array, and places before one.
NOINLINE int backwards(int k) {
	int t = 0;
	for (int i = 4; i > k; i--) t = t * OLD_NEW(2, 3) + global[i - 1];
	return t;
}
NOINLINE long indexed(int k) { sums[k & 7] += OLD_NEW(1, 10); return sums[k & 7]; }
// The addresses of functions and of imports.
NOINLINE int same(void) {
	calls++;
	return OLD_NEW(0, 100) + (pointer == add) + 2 * (((int (*)(const char *, const char *))strcmp)("a", OLD_NEW("a", "a")) == 0);
}
NOINLINE void *import(int k) { calls++; return k ? (void *)IMPORT : OLD_NEW(0, (void *)kept); }
NOINLINE int cases(int n) {
	switch (n) {
	case 1: calls++; return OLD_NEW(11, 111);
	case 2: kept = "two"; return 22;
	case 3: kept = "three"; return 33;
	case 4: calls += 2; return OLD_NEW(44, 444);
	case 5: return add(55);
	case 6: kept = "six"; return 66 + global[1];
	case 7: return twice(calls);
	default: return -1;
	}
}
// Labels whose addresses are in a table of constants.
NOINLINE int labels(const unsigned char *p) {
	static const void *const go[] = {&&stop, &&one, &&two, &&three};
	int t = 0;
	goto *go[*p++ & 3];
one:	t += OLD_NEW(1, 5); goto *go[*p++ & 3];
two:	t += 2; goto *go[*p++ & 3];
three:	t *= 3; goto *go[*p++ & 3];
stop:	return t;
}
NOINLINE int fresh(int n) {
#ifdef FIXED
	return (int)strlen(names[n % 5]) * 10 + cases(n) + twice(n);
#else
	ROOM;
	return n;
#endif
}

NOINLINE void questions(void);
int main(void) { questions(); }
NOINLINE void questions(void) {
	const char *q;
	answer("ready %d", getpid());
	while ((q = next())) {
		int n = atoi(q + 1);
		switch (*q) {
		case 'f': answer("%d %d %d", through(0, n), through(1, n), through(2, n)); break;
		case 'a': answer("%s", name(n)); break;
		case 'k': answer("%s", keep(n)); break;
		case 't': answer("%d", total(n)); break;
		case 'b': answer("%d", backwards(n)); break;
		case 'x': answer("%ld", indexed(n)); break;
		case 's': answer("%d", same()); break;
		case 'i': answer("%d", import(1) == (void *)IMPORT); break;
		case 'c': answer("%d", cases(n)); break;
		case 'l': answer("%d", labels((const unsigned char *)"\1\2\3\1\0")); break;
		case 'v': answer("%d", fresh(n)); break;
		case 'n': answer("%d", calls); break;
		case 'g': global[n & 3]++; answer("ok"); break;
		default: answer("?");
		}
	}
}
