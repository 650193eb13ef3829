// Threads sleep for MS milliseconds, again and again, under seccomp filters that say
// something to restart_syscall, by which the kernel goes on with a sleep after a stop.
// Arguments: MS, a file, and the filters; those behind "later" come for all threads as
// soon as the file is there, those that begin with 1 are for one of the threads alone.
// c: how often each has slept at least, how many sleeps failed, and how many were short.
#include "victim.h"
#include <linux/futex.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#define MARK 0x123456789abcdefL // the last argument of every sleep, which none of them has
#define SLEEPS 3

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static int ms, listener;
static atomic_int slept[SLEEPS], failed, early, asked;
extern const char behind_sleep[];

// All sleeps are called from one place.
NOINLINE long call(long nr, long a, long b, long c, long d) {
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;
	register long r9 __asm__("r9") = MARK;
	long ret;
	__asm__ volatile("syscall\n.globl behind_sleep\nbehind_sleep:" : "=a"(ret)
		: "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}

static void install(struct sock_filter *f, int n, unsigned flags) {
	struct sock_fprog p = {(unsigned short)n, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) exit(8);
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
	if (r < 0) exit(9);
	if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) listener = (int)r;
}
// say: to restart_syscall this, where two words of the call are these; else the other.
static void words(uint32_t at, uint64_t is, unsigned same, unsigned other, unsigned flags) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)is, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(is >> 32), 1, 2),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, same),
		BPF_STMT(BPF_RET | BPF_K, other),
	};
	install(f, sizeof f / sizeof *f, flags);
}
static void say(unsigned what, unsigned flags) { words(offsetof(struct seccomp_data, args[5]), MARK, what, what, flags); }
static void confine(const char *how, unsigned flags) {
	uint32_t ip = offsetof(struct seccomp_data, instruction_pointer), last = offsetof(struct seccomp_data, args[5]);
	uint64_t here = (uint64_t)behind_sleep;
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (!strcmp(how, "allow")) install(&all, 1, flags);
	else if (!strcmp(how, "many")) for (int i = 0; i < 200; i++) install(&all, 1, flags);
	else if (!strcmp(how, "log")) say(SECCOMP_RET_LOG, flags);
	else if (!strcmp(how, "kill")) say(SECCOMP_RET_KILL_PROCESS, flags);
	else if (!strcmp(how, "errno")) say(SECCOMP_RET_ERRNO | EPERM, flags);
	else if (!strcmp(how, "trap")) say(SECCOMP_RET_TRAP, flags);
	else if (!strcmp(how, "trace")) say(SECCOMP_RET_TRACE, flags);
	else if (!strcmp(how, "notify")) say(SECCOMP_RET_USER_NOTIF, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER);
	else if (!strcmp(how, "here")) words(ip, here, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, flags);
	else if (!strcmp(how, "elsewhere")) words(ip, here, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW, flags);
	else if (!strcmp(how, "marked")) words(last, MARK, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, flags);
	else if (!strcmp(how, "unmarked")) words(last, MARK, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW, flags);
	else exit(7);
}

static char **arguments;
static void *sleeps(void *which) {
	static int word;
	for (char **a = arguments; which == 0 && *a; a++) if (**a == '1') confine(*a + 1, 0);
	for (;;) {
		struct timespec b, e, t = {ms / 1000, ms % 1000 * 1000000L};
		long r;
		clock_gettime(CLOCK_MONOTONIC, &b);
		switch ((int)(intptr_t)which) {
		case 0: r = call(SYS_nanosleep, (long)&t, 0, 0, 0); break;
		case 1: r = call(SYS_poll, 0, 0, ms, 0); break;
		default: r = call(SYS_futex, (long)&word, FUTEX_WAIT, 0, (long)&t); break;
		}
		clock_gettime(CLOCK_MONOTONIC, &e);
		if (r && r != -ETIMEDOUT) failed++;
		else if ((e.tv_sec - b.tv_sec) * 1000L + (e.tv_nsec - b.tv_nsec) / 1000000L < ms) early++;
		else slept[(intptr_t)which]++;
	}
}
static void *late(void *file) {
	while (access(file, F_OK)) ;
	char **a = arguments;
	while (strcmp(*a, "later")) a++;
	while (*++a) confine(*a, SECCOMP_FILTER_FLAG_TSYNC);
	for (;;) pause();
}
// supervisor lets every call go on.
static void *supervisor(void *a) {
	(void)a;
	for (;;) {
		struct seccomp_notif n = {0};
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n)) continue;
		struct seccomp_notif_resp r = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
		asked++;
	}
}

int main(int argc, char **argv) {
	pthread_t t;
	int comes = 0;
	if (argc < 3) return 6;
	ms = atoi(argv[1]);
	arguments = argv + 3;
	for (char **a = arguments; *a && !comes; a++)
		if (!strcmp(*a, "later")) comes = 1;
		else if (**a != '1') confine(*a, 0);
	for (intptr_t i = 0; i < SLEEPS; i++) pthread_create(&t, NULL, sleeps, (void *)i);
	if (comes) pthread_create(&t, NULL, late, argv[2]);
	if (listener) pthread_create(&t, NULL, supervisor, NULL);
	usleep(20000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) {
		int least = slept[0];
		for (int i = 1; i < SLEEPS; i++) if (slept[i] < least) least = slept[i];
		if (*q == 'c') answer("slept=%d failed=%d early=%d", least, failed, early);
		else if (*q == 'a') answer("%d", asked);
		else answer("%d", fixed_function(1));
	}
}
