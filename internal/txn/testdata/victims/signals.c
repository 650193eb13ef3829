// Four threads that sleep and wake, and handle a real-time signal, of which each
// counts: none may be lost.
#include "victim.h"

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_long got;
static void on(int s) { (void)s; got++; }
static void *sleeps(void *a) { (void)a; for (;;) usleep(100); }

int main(void) {
	struct sigaction sa = {.sa_handler = on, .sa_flags = SA_RESTART};
	sigset_t s; pthread_t t; const char *q;
	sigaction(SIGRTMIN, &sa, NULL);
	for (int i = 0; i < 4; i++) pthread_create(&t, NULL, sleeps, NULL);
	sigemptyset(&s); sigaddset(&s, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'n': answer("%ld", got); break;
		}
}
