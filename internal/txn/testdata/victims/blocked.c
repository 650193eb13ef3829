// Threads that sleep in every system call a stop could disturb. Each counts
// how often it came back with EINTR, or early, without a reason.
#include "victim.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int spurious, early, woken;
static _Atomic(const char *) last = "nobody"; // which thread was the last to be disturbed
#define disturbed() do { spurious++; last = __func__ + 3; } while (0)
static int pipes[2], socks[2];
static void nosignal(int s) { (void)s; }

static void *in_epoll(void *a) {
	int e = epoll_create1(0); (void)a;
	struct epoll_event ev;
	for (;;) if (epoll_wait(e, &ev, 1, -1) < 0 && errno == EINTR) disturbed();
}
static void *in_epoll_pwait(void *a) {
	int e = epoll_create1(0); (void)a;
	struct epoll_event ev; sigset_t none; sigemptyset(&none);
	for (;;) if (epoll_pwait(e, &ev, 1, -1, &none) < 0 && errno == EINTR) disturbed();
}
static void *in_read(void *a) {
	char c; (void)a;
	for (;;) if (read(pipes[0], &c, 1) < 0 && errno == EINTR) disturbed();
}
static void *in_recv(void *a) {
	char c; struct timeval tv = {3600, 0}; (void)a;
	setsockopt(socks[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	for (;;) if (recv(socks[0], &c, 1, 0) < 0 && errno == EINTR) disturbed();
}
static void *in_futex(void *a) {
	static int word; (void)a;
	for (;;) if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0) < 0 && errno == EINTR) disturbed();
}
static void *in_sigwait(void *a) {
	sigset_t s; struct timespec ts = {3600, 0}; (void)a;
	sigemptyset(&s); sigaddset(&s, SIGUSR2);
	for (;;) if (sigtimedwait(&s, NULL, &ts) < 0 && errno == EINTR) disturbed();
}
static void *in_sigsuspend(void *a) {
	sigset_t s; (void)a;
	sigfillset(&s); sigdelset(&s, SIGUSR1);
	for (;;) { sigsuspend(&s); woken++; }
}
static void *in_poll(void *a) {
	struct pollfd p = {pipes[0], POLLPRI, 0}; (void)a;
	for (;;) if (poll(&p, 1, -1) < 0 && errno == EINTR) disturbed();
}
static void *in_nanosleep(void *a) {
	(void)a;
	for (;;) {
		struct timespec b, e, d = {0, 50000000};
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (nanosleep(&d, NULL) < 0) disturbed();
		clock_gettime(CLOCK_MONOTONIC, &e);
		if ((e.tv_sec - b.tv_sec) * 1000000000L + e.tv_nsec - b.tv_nsec < 50000000) early++;
	}
}

int main(void) {
	void *(*all[])(void *) = {in_epoll, in_epoll_pwait, in_read, in_recv, in_futex, in_sigwait, in_sigsuspend, in_poll, in_nanosleep};
	struct sigaction sa = {.sa_handler = nosignal};
	sigset_t s; pthread_t t, suspender = 0;
	if (pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, socks)) return 1;
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		pthread_create(&t, NULL, all[i], NULL);
		if (all[i] == in_sigsuspend) suspender = t;
	}
	usleep(100000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("spurious=%d early=%d woken=%d last=%s", spurious, early, woken, last); break;
		case 'w': { // a real signal must still get through
			int before = woken;
			pthread_kill(suspender, SIGUSR1);
			for (int i = 0; i < 200 && woken == before; i++) usleep(10000);
			answer("%d", woken - before);
		}
		}
}
