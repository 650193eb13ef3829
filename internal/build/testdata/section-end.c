#include "common.h"
#include <ctype.h>
/* A loop over the last table of .data.rel.ro, which ends where .dynamic starts,
   or (NUMBERS) of .rodata, which ends where .eh_frame_hdr starts.
   ROW: a row of the table changes. Otherwise there are another table before it
   and more functions of libc, so that all of it lies elsewhere. */
typedef long step(long);
struct op { const char *name; step *run; };
KEEP static long twice(long n) { return n * 2; }
KEEP static long square(long n) { return n * n + calls; }
KEEP static long less(long n) { return n - total; }
KEEP static long half(long n) { return n / 2 + 1; }
#if defined(FIXED) && !defined(ROW)
static const struct op more[2] = { {"third", half}, {"fifth", less} };
KEEP long other(long n) { return more[n & 1].run(n) + toupper(more[n & 1].name[0]) + labs(atol(last)); }
#else
KEEP long other(long n) { return n + 1; }
#endif
#ifdef NUMBERS
struct pair { long from, to; };
#if defined(FIXED) && defined(ROW)
#define LAST 46
#else
#define LAST 45
#endif
static const struct pair ops[4] __attribute__((aligned(32))) = { {3, 9}, {8, 12}, {21, 33}, {34, LAST} };
#define STEP n = n * o->from + o->to
#else
#if defined(FIXED) && defined(ROW)
#define LAST less
#else
#define LAST half
#endif
static const struct op ops[4] __attribute__((aligned(32))) = { {"twice", twice}, {"square", square}, {"less", less}, {"last", LAST} };
#define STEP n = o->run(n) + o->name[0]
#endif
#ifdef PASSED /* the start of the walk is told by a caller, which alone is new */
KEEP long walk(__typeof__(&ops[0]) o, long n) {
	for (; o != ops + 4; o++)
		STEP;
	return n;
}
KEEP long all(long n) {
#ifdef FIXED
	if (n > 1000)
		return -1;
#endif
	return walk(n & 1 ? ops : ops + 1, n) + 1;
}
#else
KEEP long all(long n) {
#ifdef FIXED
	if (n > 1000)
		return -1;
#endif
	__typeof__(&ops[0]) end = ops + 4;
	__asm__("" : "+r"(end)); /* taken for itself, not as start + 64 */
	for (__typeof__(&ops[0]) o = ops; o != end; o++)
		STEP;
	return n;
}
#endif
int main(int argc, char **argv) {
	printf("%ld %ld %ld\n", all(argc), other(argc), twice(square(less(half(argc)))) + **argv);
	show();
	return 0;
}
