// A function that waits in the middle when asked to, and then finishes with
// what it knew before.
#include "victim.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#ifdef FIXED
#define ADDED (FIXED * 1000) // -DFIXED is 1
#else
#define ADDED 1
#endif

static atomic_int inside, hold, result;
static pthread_t worker;
static void wait_here(void) { inside = 1; while (hold) usleep(1000); }
NOINLINE int fixed_function(int n, void (*wait)(void)) {
	volatile int kept = n;
	if (wait) wait();
	return kept + ADDED;
}
// inherit runs it in a process of its own, in the same memory.
static char stack[65536];
static int inherit(void *a) { prctl(PR_SET_PDEATHSIG, SIGKILL); result = fixed_function(42, wait_here); return 0; }
static void *work(void *a) { (void)a; result = fixed_function(42, wait_here); return NULL; }

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1, NULL)); break;
		case 'h': inside = 0; hold = 1; pthread_create(&worker, NULL, work, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 'c': inside = 0; hold = 1; clone(inherit, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 'r': hold = 0; wait(NULL); answer("%d", result); break;
		case 'g': hold = 0; pthread_join(worker, NULL); answer("%d", result); break;
		}
}
