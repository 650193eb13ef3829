#include "common.h"
struct conn {
	char *name;
	int state;
#ifdef FIXED
	int failed;
#endif
	long bytes;
};
KEEP int advance(struct conn *c) {
#ifdef FIXED
	if (c->failed)
		return -1;
#endif
	c->bytes += 8;
	return ++c->state;
}
KEEP long report(struct conn *c) {
	printf("%s %d %ld\n", c->name, c->state, c->bytes);
	return c->bytes;
}
int main(void) {
	do {
		struct conn *c = calloc(1, sizeof *c);
		c->name = last;
		advance(c);
		report(c);
		show();
	} while (puts("") < 0);
	return 0;
}
