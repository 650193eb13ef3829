#include "common.h"
/* make gives what it makes another callback that is there already (WHICH 1), another
   table of such (2), or another in the second of two members that one instruction
   fills in (3). With 4 it only calls another one, with 5 it passes another one to a
   call, with 6 it compares with another. */
typedef int act(int);
struct ops { act *in, *out; };
struct event { act *in, *out; const struct ops *ops; int n; };

KEEP int twice(int n) { return 2 * n; }
KEEP int checked(int n) { return n < 0 || n > 100 ? -1 : 2 * n; }
KEEP int half(int n) { return n / 2; }
const struct ops plain = {twice, half}, careful = {checked, half};
KEEP int use(act *f, int n) { return f(n); }

#ifdef FIXED
#define CALLBACK checked
#define TABLE careful
#else
#define CALLBACK twice
#define TABLE plain
#endif

KEEP struct event *make(int n) {
	struct event *e = calloc(1, sizeof *e);
#if WHICH == 1
	e->n = n;
	e->in = CALLBACK;
#elif WHICH == 2
	e->ops = &TABLE;
#elif WHICH == 3
	e->in = half;
	e->out = CALLBACK;
#else
	struct { act *f; int n; } frame = {CALLBACK, n};
	e->in = half;
#if WHICH == 4
	e->n = CALLBACK(n);
#elif WHICH == 5
	e->n = use(CALLBACK, n);
	asm("" :: "r"(&frame) : "memory");
#else
	e->n = (long)e->out == (long)CALLBACK;
#endif
#endif
	return e;
}

KEEP struct event *other(int n) {
	struct event *e = calloc(1, sizeof *e);
	e->in = n > 3 ? twice : checked;
	e->ops = n > 4 ? &plain : &careful;
	return e;
}

int main(int argc, char **argv) {
	struct event *e = make(argc), *f = other(argc);
	printf("%d\n", e->n + f->in(argc) + f->ops->out(argc) + (e->in ? e->in(argc) : 0) + (e->out ? e->out(argc) : 0));
	return parse(*argv);
}
