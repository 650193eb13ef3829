// Threads that sleep in system calls which a stop restarts without a trace, and
// memory that nobody touches: whatever differs afterwards, somebody else did.
#include "victim.h"
#include <linux/futex.h>
#include <sys/epoll.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
NOINLINE int second_function(int n) { ROOM; return OLD_NEW(n + 2, n + 2000); }

static int pipes[2];
static char memory[1 << 20];
static void *in_read(void *a) { char c; (void)a; for (;;) (void)!read(pipes[0], &c, 1); }
static void *in_futex(void *a) { static int word; (void)a; for (;;) syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0); }
static void *in_epoll(void *a) { struct epoll_event e; int fd = epoll_create1(0); (void)a; for (;;) epoll_wait(fd, &e, 1, -1); }
static void *in_pause(void *a) { (void)a; for (;;) pause(); }

int main(void) {
	void *(*all[])(void *) = {in_read, in_futex, in_epoll, in_pause};
	pthread_t t;
	pthread_attr_t small; // there is less to compare
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	if (pipe(pipes)) return 1;
	for (size_t i = 0; i < sizeof memory; i++) memory[i] = (char)(i * 7);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) pthread_create(&t, &small, all[i], NULL);
	usleep(10000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d %d", fixed_function(1), second_function(1));
}
