// A buffer of another size than before, that nothing but a constant tells; -DBOUND:
// only what is written into it differs.
#include "common.h"

#if defined FIXED && !defined BOUND
#define SIZE 256
#else
#define SIZE 64
#endif
#if defined FIXED && defined BOUND
#define WRITTEN 48
#else
#define WRITTEN SIZE
#endif
struct holder { int kind; char *text; };
static struct holder *holder;

KEEP void prepare(void) {
	holder = calloc(1, sizeof *holder);
	holder->text = malloc(SIZE);
}
KEEP void put(const char *s) { snprintf(holder->text, WRITTEN, "%s", s); }

int main(int argc, char **argv) {
	prepare();
	while (argc-- > 0) put(argv[argc]);
	puts(holder->text);
}
