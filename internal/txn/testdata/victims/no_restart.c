// Threads sleep with a time-out under a seccomp filter that kills on
// restart_syscall, by which the kernel goes on with such a call after a stop. The
// argument: a file; the filter then comes for all threads as soon as that is there.
// c: how many came back, and how many too early.
#include "victim.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int back, early;
static _Atomic(const char *) last = "nobody"; // who was the last to come back
#define came_back() do { back++; last = __func__; } while (0)

static void confine(unsigned flags) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p)) exit(9);
}

static void *in_nanosleep(void *a) { struct timespec t = {3600, 0}; (void)a; syscall(SYS_nanosleep, &t, NULL); came_back(); return NULL; }
static void *in_nanosleep_with_rest(void *a) { struct timespec t = {3600, 0}; (void)a; syscall(SYS_nanosleep, &t, &t); came_back(); return NULL; }
static void *in_clock_nanosleep(void *a) { struct timespec t = {3600, 0}; (void)a; syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL); came_back(); return NULL; }
static void *in_poll(void *a) { (void)a; poll(NULL, 0, 3600 * 1000); came_back(); return NULL; }
static void *in_futex(void *a) {
	static int word; struct timespec t = {3600, 0}; (void)a;
	syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0); came_back(); return NULL;
}
static void *in_futex_until(void *a) {
	static int word; struct timespec t; (void)a;
	clock_gettime(CLOCK_MONOTONIC, &t); t.tv_sec += 3600;
	syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, NULL, ~0u); came_back(); return NULL;
}
static void *in_short_sleeps(void *a) {
	(void)a;
	for (;;) {
		struct timespec b, e, d = {0, 50000000};
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (nanosleep(&d, NULL) < 0) came_back();
		clock_gettime(CLOCK_MONOTONIC, &e);
		if ((e.tv_sec - b.tv_sec) * 1000000000L + e.tv_nsec - b.tv_nsec < 50000000) early++;
	}
}
// late runs all the time, so it is among the last to be stopped.
static void *late(void *file) {
	while (access(file, F_OK)) ;
	confine(SECCOMP_FILTER_FLAG_TSYNC);
	for (;;) pause();
}

int main(int argc, char **argv) {
	void *(*all[])(void *) = {in_nanosleep, in_nanosleep_with_rest, in_clock_nanosleep, in_poll, in_futex, in_futex_until, in_short_sleeps};
	pthread_t t;
	if (argc == 1) confine(0);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) pthread_create(&t, NULL, all[i], NULL);
	if (argc > 1) pthread_create(&t, NULL, late, argv[1]);
	usleep(100000);
	answer("ready %d", getpid());
	const char *q;
	for (;;) {
		struct pollfd p = {0, POLLIN, 0};
		if (argc < 3 && poll(&p, 1, 3600 * 1000) < 0) came_back(); // the first thread, too, sleeps in such a call
		if (!(q = next())) return 0;
		if (*q == 'c') answer("back=%d early=%d last=%s", back, early, last);
		else answer("%d", fixed_function(1));
	}
}
