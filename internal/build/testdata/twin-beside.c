#include "common.h"
/* A new variable beside an old one of the same kind: what reads and sets them has
   the same code, and takes the old one's place; the old one moves on into what
   was a gap. */
static int first __attribute__((aligned(32))), older, second;
#ifdef FIXED
static int young;
#endif
static int old;
static long later[4] __attribute__((aligned(32)));
KEEP static int set_older(int n) { return older = n; }
KEEP int between(int n) { first += n; return add(n) * second; }
#ifdef FIXED
KEEP static int set_young(int n) { return young = n; }
#endif
KEEP static int set_old(int n) { return old = n; }
KEEP int get_older(int n) { for (int i = 3; i < n; i++) n ^= older * i; return n; }
KEEP int set_second(int n) { for (int i = 1; i < 9; i++) second = n * 5 + (second ^ i); return second + first; }
KEEP static int get_old(void) { return old; }
#ifdef FIXED
KEEP static int get_young(void) { return young; }
#endif
KEEP long ask(int n) {
	long r = later[n & 3] += between(n);
#ifdef FIXED
	r += get_young();
#endif
	return r * set_second(n) + get_older(n);
}
KEEP int start(int n) {
#ifdef FIXED
	set_young(n);
#endif
	return n * 7 + parse("7");
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%d %ld\n", start(argc), ask(argc));
	show();
	return 0;
}
