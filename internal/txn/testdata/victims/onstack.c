// A function that is on a stack when asked to be, and leaves when told.
#include "victim.h"

static atomic_int inside, hold;
static pthread_t worker;
NOINLINE void wait_here(void) { inside = 1; while (hold) usleep(1000); }
NOINLINE int fixed_function(int n) {
	if (n == 42) wait_here();
	return OLD_NEW(n + 1, n + 1000);
}
static void *work(void *a) { (void)a; fixed_function(42); return NULL; }
NOINLINE int deep(int n) { // leaves return addresses of fixed_function behind on the stack
	volatile char pad[512];
	pad[0] = (char)n;
	return n ? deep(n - 1) + pad[0] : fixed_function(1);
}
// Its alternate stack hides the interrupted frames from a scan.
static char alt[65536];
static void on_usr1(int s) { (void)s; inside = 1; while (hold) usleep(1000); }
NOINLINE int raises(int n) {
	if (n == 43) pthread_kill(pthread_self(), SIGUSR1);
	return OLD_NEW(n + 1, n + 1000);
}
static void *signalled(void *a) {
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt}; (void)a;
	sigaltstack(&ss, NULL);
	raises(43);
	return NULL;
}

int main(void) {
	struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK};
	sigaction(SIGUSR1, &sa, NULL);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d %d", fixed_function(1), raises(1)); break;
		case 'h': inside = 0; hold = 1; pthread_create(&worker, NULL, work, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 's': inside = 0; hold = 1; pthread_create(&worker, NULL, signalled, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 'g': hold = 0; pthread_join(worker, NULL); answer("gone"); break;
		case 'd': answer("%d", deep(20) != 0); break;
		}
}
