// A struct gets another member in the middle while a caller holds one: new
// code would read it at the wrong places.
#include "victim.h"

struct session {
	int id;
#ifdef FIXED
	long limit;
#endif
	int used, left;
	char name[16];
};
static struct session *current;
NOINLINE int fixed_function(struct session *s, int n) {
#ifdef FIXED
	if (s->limit && n > s->limit) return -1;
#endif
	s->used += n;
	return s->used + s->left;
}
NOINLINE struct session *make(void) { struct session *s = calloc(1, sizeof *s); s->id = 1; s->left = 10; strcpy(s->name, "x"); return s; }

int main(void) {
	current = make();
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d %s", fixed_function(current, 1), current->name);
}
