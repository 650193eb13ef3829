// A coroutine that is switched away inside the function that the fix replaces.
#include "victim.h"
#include <ucontext.h>

static ucontext_t outside, inside;
static int inner;
NOINLINE int fixed_function(int n) {
	ROOM;
	if (n == 42) swapcontext(&inside, &outside);
	return OLD_NEW(n + 1, n + 1000);
}
static void body(void) { inner = fixed_function(42); }
int main(void) {
	static char stack[65536];
	getcontext(&inside);
	inside.uc_stack.ss_sp = stack; inside.uc_stack.ss_size = sizeof stack; inside.uc_link = &outside;
	makecontext(&inside, body, 0);
	swapcontext(&outside, &inside);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d", fixed_function(1));
}
