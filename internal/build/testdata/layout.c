#include "common.h"
struct conn {
	int fd;
	char *name;
#ifdef FIXED
	long deadline;
#endif
	int state;
	long bytes;
};
KEEP struct conn *open_conn(int fd) {
	struct conn *c = malloc(sizeof *c);
	c->fd = fd;
	c->name = last;
	c->state = 0;
	c->bytes = 0;
#ifdef FIXED
	c->deadline = 30;
#endif
	return c;
}
KEEP int advance(struct conn *c) {
	c->bytes += 8;
	return ++c->state;
}
KEEP long report(struct conn *c) {
	printf("%s %d %ld\n", c->name, c->state, c->bytes);
	return c->bytes + c->state;
}
KEEP void reset(struct conn *c) { c->bytes = c->state = 0; }
int main(int argc, char **argv) {
	(void)argv;
	do {
		struct conn *c = open_conn(argc);
		advance(c);
		report(c);
		reset(c);
		show();
	} while (puts("") < 0);
	return 0;
}
