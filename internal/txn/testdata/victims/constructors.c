// What ran once at start is not run again: the values that constructors made
// stay, also when the fix changes other functions that use them.
#include "victim.h"

static int built, runs;
__attribute__((constructor)) static void construct(void) { built = 40 + getpid() * 0; runs++; }
__attribute__((destructor)) static void destruct(void) { dprintf(1, "destroyed %d\n", runs); }
NOINLINE int fixed_function(int n) { return OLD_NEW(built + n, built * 100 + n); }

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d %d", fixed_function(2), runs); break;
		case 'e': return 0;
		}
}
