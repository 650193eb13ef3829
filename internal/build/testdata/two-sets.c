#include "common.h"
/* Two sets of constants, of which the second begins where the first ends. GROWN:
   the first has another element, or (LATER) the second. What goes over the sets:
   the second alone (ONE), both (BOTH), or what somebody else goes over (HANDED). */
struct entry { long v, w; };
#define ENTRY(set, n, val) static const struct entry e_##n __attribute__((section(#set), used)) = {val, val + 1};
extern const struct entry __start_alpha[], __stop_alpha[], __start_beta[], __stop_beta[];
ENTRY(alpha, one, 1) ENTRY(alpha, two, 2)
ENTRY(beta, four, 40) ENTRY(beta, five, 50)
#if defined(FIXED) && !defined(LATER)
ENTRY(alpha, three, 3)
#endif
#if defined(FIXED) && defined(LATER)
ENTRY(beta, six, 60)
#endif
static long sums = 5;
KEEP long over(const struct entry *e, const struct entry *end) {
	for (; e < end; e++) sums += e->v * 3 + e->w;
	return sums;
}
KEEP long scan(long n) {
#ifdef FIXED
	if (n > 100)
		return -1;
#endif
#if defined(BOTH)
	for (const struct entry *e = __start_alpha; e < __stop_alpha; e++) sums += e->v * n;
#endif
#if defined(HANDED)
	return over(__start_alpha, __stop_alpha) + over(__start_beta, __stop_beta) + n;
#else
	for (const struct entry *e = __start_beta; e < __stop_beta; e++) sums += e->v * n + e->w;
	return sums;
#endif
}
KEEP long first(void) {
	for (const struct entry *e = __start_alpha; e < __stop_alpha; e++) sums += e->v;
	return sums;
}
KEEP long second(void) { return over(__start_beta, __stop_beta); }
int main(int argc, char **argv) {
	printf("%ld %ld %ld %d\n", scan(argc), first(), second(), parse(*argv));
	show();
	return 0;
}
