// A storm: a timer signal every 200 µs with queued values, threads created and
// ending all the time, forks, and vector registers that must keep their values.
#include "victim.h"
#include <sys/wait.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_long sent, got, order_errors, corrupt, made, rounds;
static atomic_int stop;

static void on_rt(int s, siginfo_t *i, void *u) {
	static long last; (void)s; (void)u;
	if (i->si_code != SI_QUEUE || i->si_value.sival_int != (int)(last + 1)) order_errors++;
	last = i->si_value.sival_int;
	got++;
}
static pthread_t receiver;
static void *receive(void *a) {
	sigset_t s; (void)a;
	sigemptyset(&s); sigaddset(&s, SIGRTMIN);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	volatile long x = 0;
	while (!stop) x++;
	return NULL;
}
static void *send(void *a) {
	(void)a;
	while (!stop) {
		union sigval v = {.sival_int = (int)sent + 1};
		if (pthread_sigqueue(receiver, SIGRTMIN, v) == 0) sent++;
		usleep(200);
	}
	return NULL;
}
static void *shortlived(void *a) { made++; return a; }
static void *spawn(void *a) {
	(void)a;
	while (!stop) {
		pthread_t t;
		if (pthread_create(&t, NULL, shortlived, NULL) == 0) pthread_join(t, NULL);
	}
	return NULL;
}
static void *forker(void *a) {
	(void)a;
	while (!stop) {
		pid_t p = fork();
		if (p == 0) _exit(fixed_function(1) & 1);
		if (p > 0) waitpid(p, NULL, 0);
		usleep(2000);
	}
	return NULL;
}
// vectors keeps 8 xmm registers busy without touching memory in between.
static void *vectors(void *a) {
	(void)a;
	while (!stop) {
		uint64_t bad = 0;
		__asm__ volatile(
			"mov $0x1122334455667788, %%rax\n\t"
			"movq %%rax, %%xmm0\n\tmovq %%rax, %%xmm7\n\tmovq %%rax, %%xmm15\n\t"
			"mov $2000, %%ecx\n"
			"1:\tmovq %%xmm0, %%rdx\n\tcmp %%rdx, %%rax\n\tjne 2f\n\t"
			"movq %%xmm7, %%rdx\n\tcmp %%rdx, %%rax\n\tjne 2f\n\t"
			"movq %%xmm15, %%rdx\n\tcmp %%rdx, %%rax\n\tjne 2f\n\t"
			"dec %%ecx\n\tjnz 1b\n\tjmp 3f\n"
			"2:\tmov $1, %0\n3:"
			: "+r"(bad) : : "rax", "rcx", "rdx", "xmm0", "xmm7", "xmm15", "cc");
		if (bad) corrupt++;
		rounds++;
	}
	return NULL;
}

int main(void) {
	struct sigaction sa = {.sa_sigaction = on_rt, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigset_t s; pthread_t t;
	sigaction(SIGRTMIN, &sa, NULL);
	sigemptyset(&s); sigaddset(&s, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	pthread_create(&receiver, NULL, receive, NULL);
	pthread_create(&t, NULL, send, NULL);
	pthread_create(&t, NULL, spawn, NULL);
	pthread_create(&t, NULL, forker, NULL);
	pthread_create(&t, NULL, vectors, NULL);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("order=%ld corrupt=%ld", order_errors, corrupt); break;
		case 'a': answer("%d", sent > 100 && got > 100 && made > 10 && rounds > 10); break;
		case 'e': // let everything that was sent arrive, then count
			stop = 1;
			for (int i = 0; i < 500 && (i < 20 || sent != got); i++) usleep(10000);
			answer("lost=%ld", sent - got);
		}
}
