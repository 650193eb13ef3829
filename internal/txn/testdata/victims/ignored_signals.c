// One thread stays in the function that changes. Four work and wait by turns, in
// epoll_wait, while a child sends them a signal that the process ignores: that
// wakes a thread only while somebody traces it.
// c: how often epoll_wait was interrupted all the same.
#include "victim.h"
#include <sys/epoll.h>
#include <sys/prctl.h>

enum { WORKERS = 4 };
static pid_t tids[WORKERS];
static atomic_int up, inside, interrupted;

NOINLINE int fixed_function(int n) {
	ROOM;
	for (; n == 77; pause()) inside = 1;
	return OLD_NEW(n + 1, n + 1000);
}

static void *stays(void *unused) {
	(void)unused;
	fixed_function(77);
	return NULL;
}

static void *works(void *which) {
	int epoll = epoll_create1(0);
	struct epoll_event event;
	tids[(long)which] = (pid_t)syscall(SYS_gettid);
	up++;
	for (;;) {
		for (volatile int k = 0; k < 300000; k++) {}
		if (epoll_wait(epoll, &event, 1, 1) < 0 && errno == EINTR) interrupted++;
	}
}

int main(void) {
	pthread_t thread;
	pthread_create(&thread, NULL, stays, NULL);
	for (long i = 0; i < WORKERS; i++) pthread_create(&thread, NULL, works, (void *)i);
	while (up < WORKERS || !inside) usleep(1000);
	pid_t me = getpid();
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;; usleep(100))
			for (int i = 0; i < WORKERS; i++)
				if (syscall(SYS_tgkill, me, tids[i], SIGWINCH)) _exit(0);
	}
	answer("ready %d", getpid());
	for (const char *q; (q = next());) {
		if (*q == 'c') answer("%d", interrupted);
		else answer("%d", fixed_function(1));
	}
}
