// The first thread clones a child that shares the memory, and ends. The kernel makes
// the oldest thread that is left the child's parent: with "worker" one of io_uring,
// which never runs the program's code. With "ended" the child has ended, too.
#include "victim.h"
#include <linux/io_uring.h>
#include <sched.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int left;
static int ends;
static char stack[1 << 16] __attribute__((aligned(16)));

static int child(void *a) {
	(void)a;
	while (!ends) usleep(1000);
	return 0;
}
static void *answers(void *a) {
	(void)a;
	while (!left) usleep(1000);
	usleep(100000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) answer("%d", fixed_function(1));
	_exit(0);
}

int main(int argc, char **argv) {
	pthread_t t;
	struct io_uring_params p = {.flags = IORING_SETUP_SQPOLL};
	const char *how = argc > 1 ? argv[1] : "";
	ends = !strcmp(how, "ended");
	if (!strcmp(how, "worker") && syscall(SYS_io_uring_setup, 8, &p) < 0) { answer("unsupported"); return 0; }
	pthread_create(&t, NULL, answers, NULL);
	if (clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL) < 0) return 8;
	left = 1;
	for (;;) syscall(SYS_exit, 0);
}
