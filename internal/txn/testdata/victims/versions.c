// Three versions: as it is, -DFIXED and -DFIXED=2. Each fix replaces another
// set of functions; the one that only the first touches is right again in the
// second.
#include "victim.h"
#ifndef FIXED
#define VERSION 0
#else
#define VERSION (FIXED + 0)
#endif
NOINLINE int both(int n) { ROOM; return n + 10 + VERSION; }
NOINLINE int first(int n) { ROOM; return n + 20 + (VERSION == 1); }
NOINLINE int second(int n) { ROOM; return n + 30 + (VERSION == 2); }
static atomic_int inside, hold;
static pthread_t worker;
NOINLINE void wait_here(void) { inside = 1; while (hold) usleep(1000); }
NOINLINE int holder(int n) { if (n == 42) wait_here(); ROOM; return n + 40 + VERSION; }
static void *work(void *a) { (void)a; holder(42); return NULL; }
int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d %d %d %d", both(0), first(0), second(0), holder(0)); break;
		case 'h': inside = 0; hold = 1; pthread_create(&worker, NULL, work, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 'g': hold = 0; pthread_join(worker, NULL); answer("gone"); break;
		}
}
