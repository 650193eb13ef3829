#include "common.h"
/* A linker set: all that a file puts into a section, gone over from its start to
   its end. NUMBERS: constants; else pointers, which the loader relocates. GROWN:
   another element comes; CHANGED: one has another value. ALONE: nothing else
   changes in what goes over them. */
#ifdef NUMBERS
struct entry { long v, w; };
#define ENTRY(n, val) static const struct entry e_##n __attribute__((section("entries"), used)) = {val, val + 1};
#define EACH(e) for (const struct entry *e = __start_entries; e < __stop_entries; e++)
extern const struct entry __start_entries[], __stop_entries[];
#else
struct entry { const char *name; long v; };
#define ENTRY(n, val) static struct entry e_##n = {#n, val}; static struct entry *p_##n __attribute__((section("entries"), used)) = &e_##n;
extern struct entry *__start_entries[], *__stop_entries[];
#define EACH(x) struct entry *x; for (struct entry **i = __start_entries; i < __stop_entries && (x = *i); i++)
#endif
ENTRY(one, 1) ENTRY(two, 2)
#if defined(FIXED) && defined(CHANGED)
ENTRY(three, 33)
#else
ENTRY(three, 3)
#endif
#if defined(FIXED) && defined(GROWN)
ENTRY(four, 4)
#endif
static long sums = 5;
KEEP long scan(long n) {
#if defined(FIXED) && !defined(ALONE)
	if (n > 100)
		return -1;
#endif
	EACH(e) sums += e->v * n;
	return sums;
}
int main(int argc, char **argv) {
	printf("%ld %d\n", scan(argc), parse(*argv));
	show();
	return 0;
}
