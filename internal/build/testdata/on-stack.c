#include "common.h"
/* All of it lives in run's frame. HEAP: it does not. */
struct state {
	char name[40];
#ifdef FIXED
	long limit;
#endif
	long count;
	long bytes;
	int depth;
	int flags;
};
KEEP void begin(struct state *s, int n) {
	s->count = add(n);
	s->bytes = n * 3;
	s->depth = 1;
	s->flags = 0;
	if (s->count > 9)
		show();
}
KEEP void enter(struct state *s, const char *t) {
	s->depth += parse(t);
	s->count++;
	s->bytes += s->depth;
	if (s->bytes > 9000)
		show();
}
KEEP long leave(struct state *s, const char *t) {
	enter(s, t);
	s->flags |= s->depth > 7;
	s->depth -= 2;
	if (s->flags & 2)
		show();
	return s->count + s->bytes + s->flags;
}
#ifdef HEAP
struct state *kept;
#endif
KEEP long run(int n, const char *t) {
#ifdef HEAP
	if (!kept)
		kept = calloc(1, 256);
	struct state *s = kept;
#else
	struct state here, *s = &here;
#endif
#ifdef FIXED
	s->limit = n;
#endif
	snprintf(s->name, sizeof s->name, "%d", n);
	begin(s, n);
	for (int i = 0; i < n; i++)
		enter(s, t + i);
	n = strlen(s->name);
#ifdef FIXED
	n += s->limit;
#endif
	return leave(s, t) + n;
}
int main(int argc, char **argv) {
	printf("%ld\n", run(argc, argv[0]));
	show();
	return 0;
}
