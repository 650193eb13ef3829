// Three functions that three hotpatches change, -DFIXED=1 to 3.
#include "victim.h"
#ifndef FIXED
#define FIXED 0
#endif
NOINLINE int first(int n) { ROOM; return n + (FIXED == 1 ? 100 : 1); }
NOINLINE int second(int n) { ROOM; return n + (FIXED == 2 ? 200 : 2); }
NOINLINE int third(int n) { ROOM; return n + (FIXED == 3 ? 300 : 3); }

int main(int argc, char **argv) {
	(void)argc;
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d %d %d", first(0), second(0), third(0)); break;
		case 'x': execv("/proc/self/exe", argv); break;
		}
}
