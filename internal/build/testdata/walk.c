#include "common.h"
/* A table that changes and that nobody but a loop walks, up to where another
   table begins, which stays. PASSED: where the walk starts a caller says. */
struct word { const char *text; long value; };
#ifdef FIXED
#define HEAVY 5
#else
#define HEAVY 4
#endif
static const struct word words[4] = { {"one", 1}, {"two", 2}, {"three", 3}, {"four", HEAVY} };
static const struct word units[4] = { {"kilo", 1000}, {"mega", 1000000}, {"giga", 1000000000}, {"more", 0} };
KEEP long unit(int n) { return units[n & 3].value + strlen(units[n & 3].text); }
#ifdef PASSED
KEEP long find(const struct word *w, const char *t) {
	for (; w != words + 4; w++)
		if (!strcmp(w->text, t))
			return w->value;
	return add(-1);
}
KEEP long value(const char *t) { return find(words + (*t == 'f'), t) + 1; }
#else
KEEP long value(const char *t) {
	for (const struct word *w = words; w != words + 4; w++)
		if (!strcmp(w->text, t))
			return w->value;
	return add(-1);
}
#endif
int main(int argc, char **argv) {
	printf("%ld %ld\n", value(argv[0]), unit(argc));
	show();
	return 0;
}
