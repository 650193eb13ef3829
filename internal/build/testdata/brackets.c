// A watch takes a reference to what it watches, and drops it at its end.
#include <stdio.h>
#include <stdlib.h>

#define API __attribute__((noinline, noipa, externally_visible))
struct node { int id, refs; };
struct watch { struct node *n; };

API void put(struct node *n) { if (--n->refs == 0) free(n); }

API void attach(struct watch *w, struct node *n) {
	w->n = n;
#ifdef FIXED
	n->refs++;
#endif
}

API void detach(struct watch *w) {
#ifdef FIXED
	put(w->n);
#endif
	w->n = 0;
}

int main(void) {
	char b[100];
	struct watch w = {0};
	struct node *n = calloc(1, sizeof *n);
	n->refs = 2;
	while (fgets(b, sizeof b, stdin)) { if (b[0] == 'a') attach(&w, n); else if (w.n) detach(&w); else put(n); }
	return 0;
}
