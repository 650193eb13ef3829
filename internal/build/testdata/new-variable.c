#include "common.h"
static int depth;
#ifdef FIXED
static int limit = 16;
static const char *why = "too deep";
#endif
KEEP int enter(int n) {
	depth++;
#ifdef FIXED
	if (depth > limit) {
		limit++;
		return note(why);
	}
#endif
	return parse("1") + n;
}
KEEP int leave(void) { return --depth; }
#ifdef FIXED
KEEP void blame(const char *s) { why = s; }
#endif
int main(int argc, char **argv) {
	(void)argv;
	do {
		printf("%d %d\n", enter(argc), leave());
		show();
	} while (puts("") < 0);
	return 0;
}
