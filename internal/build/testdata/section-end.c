#include "common.h"
/* A loop over the last table of .data.rel.ro: it ends where .dynamic starts.
   ROW: a row of the table changes. Otherwise there are another table before it
   and more functions of libc, so that the table and .dynamic lie elsewhere. */
#include <ctype.h>
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
#if defined(FIXED) && defined(ROW)
#define LAST less
#else
#define LAST half
#endif
static const struct op ops[4] __attribute__((aligned(32))) = { {"twice", twice}, {"square", square}, {"less", less}, {"last", LAST} };
KEEP long all(long n) {
#ifdef FIXED
	if (n > 1000)
		return -1;
#endif
	const struct op *end = ops + 4;
	__asm__("" : "+r"(end)); /* taken for itself, not as start + 64 */
	for (const struct op *o = ops; o != end; o++)
		n = o->run(n) + o->name[0];
	return n;
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%ld %ld\n", all(argc), other(argc));
	show();
	return 0;
}
