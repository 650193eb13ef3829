#include "common.h"
typedef int handler(const char *);
struct command {
	const char *name;
	handler *run;
};
static KEEP int on_get(const char *s) { return parse(s) + 1; }
static KEEP int on_put(const char *s) { return note(s); }
#ifdef FIXED
static KEEP int on_del(const char *s) { return (int)add(parse(s) - 4); }
#endif
static const struct command commands[] = {
	{"get", on_get},
	{"put", on_put},
#ifdef FIXED
	{"del", on_del},
#endif
	{0, 0},
};
KEEP int run(const char *name, const char *arg) {
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c->run(arg);
	return -2;
}
int main(int argc, char **argv) {
	do {
		printf("%d\n", run(argv[0], argv[argc - 1]));
		show();
	} while (puts("") < 0);
	return 0;
}
