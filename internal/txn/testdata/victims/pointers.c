// Pointers to functions taken before and after the change, in a table, on the
// heap and in a library, must be equal and lead to the new code.
#include "victim.h"

typedef int (*fn)(int);
NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
NOINLINE int compare(const void *a, const void *b) { return OLD_NEW(*(int *)a - *(int *)b, *(int *)b - *(int *)a); }
NOINLINE int other(int n) { ROOM; return n; }
static const fn table[] = {other, fixed_function};
struct closure { fn f; int n; };
// take is changed code that takes the address of another changed function.
NOINLINE fn take(void) { return OLD_NEW(table[1], getpid() ? fixed_function : other); }

int main(void) {
	struct closure *c = malloc(sizeof *c);
	*c = (struct closure){fixed_function, 1};
	fn volatile before = fixed_function;
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') {
		int v[] = {2, 3, 1};
		qsort(v, 3, sizeof *v, compare); // a library calls it
		answer("%d %d %d %d%d%d equal=%d", c->f(c->n), table[1](1), before(1), v[0], v[1], v[2],
			take() == before && before == table[1] && c->f == before);
	}
}
