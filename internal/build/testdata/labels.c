#include "common.h"
/* An interpreter that jumps through a table of places in itself. NESTED: tables
   lead to such tables; KEPT: the table is a variable. */
static long steps;
#ifdef KEPT
void **shared;
#endif
struct machine { const char *name; const void *const *places; };
KEEP long interpret(const unsigned char *code, long x) {
#ifdef KEPT
	static void *places[] = {&&plus, &&times, &&minus, &&stop};
	shared = places;
#else
	static const void *const places[] = {&&plus, &&times, &&minus, &&stop};
#endif
#ifdef NESTED
	static const void *const places_too[] = {&&times, &&plus, &&minus, &&stop};
	static const struct machine places_of[] = {{"one", places}, {"two", places_too}};
	const void *const *at = places_of[steps & 1].places;
#else
#define at places
#endif
	steps++;
	goto *at[*code++ & 3];
plus:
#ifdef FIXED
	x += 5;
#else
	x += 3;
#endif
	goto *at[*code++ & 3];
times:
	x *= 7;
	steps += x & 1;
	goto *at[*code++ & 3];
minus:
	x = ~x;
	goto *at[*code++ & 3];
stop:
	return x + add(x);
}
int main(int argc, char **argv) {
	printf("%ld %d\n", interpret((unsigned char *)*argv, argc), parse(*argv));
	show();
	return 0;
}
