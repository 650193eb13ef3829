// It crashes when asked to (x), with so much in memory that to write that down
// takes a while.
#include "victim.h"
#include <sys/mman.h>
#include <sys/resource.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

int main(void) {
	const size_t size = 768u << 20;
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	const char *q;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED || setrlimit(RLIMIT_CORE, &all)) { answer("unsupported"); return 0; }
	memset(m, 1, size);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'x': answer("now"); abort();
		}
}
