// An indirect function: the loader asks a resolver which code it is. The one it
// chose changes; with -DCALLER a function that calls it changes instead.
#include "victim.h"

#if defined FIXED && !defined CALLER
#define ADDED 1000
#else
#define ADDED 1
#endif
NOINLINE int plain_way(int n) { ROOM; return n + ADDED; }
NOINLINE int other_way(int n) { ROOM; return n - 1; }
static int resolved;
static int (*resolve(void))(int) { return resolved ? other_way : plain_way; }
int chosen(int n) __attribute__((ifunc("resolve")));
#if defined FIXED && defined CALLER
NOINLINE int caller(int n) { return chosen(n) * 2; }
#else
NOINLINE int caller(int n) { return chosen(n) + 2; }
#endif
static int (*volatile pointer)(int) = chosen;

int main(void) {
	answer("ready %d", getpid());
	int (*was)(int) = pointer;
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d %d %d %d", chosen(1), caller(1), pointer(1), was == pointer && was == plain_way);
}
