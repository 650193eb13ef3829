// Threads wait in calls of which the kernel makes EINTR when they are woken: it
// cannot write the rest of the time back, which is in memory for reading only, or
// the socket has a time-out.
// c: how often each was interrupted.
#include "victim.h"
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int pipe_[2], pair[2];
static const struct timespec hour = {3600, 0};
static const struct timeval hour_ = {3600, 0};
enum { PPOLL, PSELECT, SELECT, PREADV, CALLS };
static atomic_int interrupted[CALLS];

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static long wait_in(int call) {
	struct pollfd p = {.fd = pipe_[0], .events = POLLIN};
	fd_set set;
	char c;
	struct iovec v = {&c, 1};
	FD_ZERO(&set);
	FD_SET(pipe_[0], &set);
	switch (call) {
	case PPOLL: return syscall(SYS_ppoll, &p, 1, &hour, NULL, 8);
	case PSELECT: return syscall(SYS_pselect6, pipe_[0] + 1, &set, NULL, NULL, &hour, NULL);
	case SELECT: return syscall(SYS_select, pipe_[0] + 1, &set, NULL, NULL, &hour_);
	default: return preadv2(pair[0], &v, 1, -1, 0);
	}
}

static void *waits(void *call) {
	for (;;)
		if (wait_in((int)(long)call) < 0 && errno == EINTR) interrupted[(long)call]++;
}

int main(void) {
	struct timeval limit = hour_;
	if (pipe(pipe_) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit)) return 1;
	for (long call = 0; call < CALLS; call++) {
		pthread_t thread;
		pthread_create(&thread, NULL, waits, (void *)call);
	}
	usleep(100000);
	answer("ready %d", getpid());
	for (const char *q; (q = next());) {
		if (*q == 'c') answer("ppoll %d pselect %d select %d preadv %d", interrupted[PPOLL], interrupted[PSELECT], interrupted[SELECT], interrupted[PREADV]);
		else answer("%d", fixed_function(1));
	}
}
