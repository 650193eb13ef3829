#include "common.h"
/* A table that begins with a small number, as if it were a string; another one
   begins where it ends, and changes. Where the walk starts a caller says. */
struct word { int key, value; };
#ifdef FIXED
#define HEAVY 5
#else
#define HEAVY 4
#endif
static const struct word words[4] = { {' ', 31}, {5, 55}, {15, 41}, {37, 40} };
static const struct word units[4] = { {1000, 3}, {1000000, 6}, {1000000000, HEAVY}, {70000, 0} };
KEEP long unit(int n) { return units[n & 3].value + units[n & 3].key; }
KEEP long find(const struct word *w, int key) {
	for (; w != words + 4; w++)
		if (w->key == key)
			return w->value;
	return add(HEAVY);
}
KEEP long value(int key) { return find(words + (key & 1), key) + 1; }
int main(int argc, char **argv) {
	(void)argv;
	printf("%ld %ld\n", value(argc), unit(argc));
	show();
	return 0;
}
