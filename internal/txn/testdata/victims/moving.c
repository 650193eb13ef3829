// Processes whose mappings or threads are not what they were a moment ago, or
// that share them. The argument says how.
#include "victim.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static atomic_int hold, inside;
atomic_int leave;
NOINLINE void wait_here(void) { inside = 1; while (hold) usleep(1000); }
NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

// split has a page of its own frame locked, which splits the stack's mapping
// between it and its caller.
NOINLINE void locked_inner(void) {
	char buf[5 * 4096];
	char *page = (char *)(((uintptr_t)buf + 4095) & ~4095ul);
	memset(buf, 1, sizeof buf);
	mlock(page, 4096);
	wait_here();
	munlock(page, 4096);
}
NOINLINE int outer(int n) { if (n == 42) locked_inner(); ROOM; return OLD_NEW(n + 1, n + 1000); }
static void *split(void *a) { (void)a; outer(42); return NULL; }

// confine installs a filter that kills on mmap, for this thread alone.
static void confine(void) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) exit(9);
}
// filtered has a filter; the other threads have none.
static void *filtered(void *a) { (void)a; confine(); for (;;) pause(); }
// latecomer installs such a filter, against any one call, for all threads when
// SIGUSR1 comes.
static sigset_t usr1;
static int unwanted = SYS_mmap;
static void *latecomer(void *a) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, unwanted, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	int sig;
	(void)a;
	sigwait(&usr1, &sig);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &p)) exit(9);
	for (;;) pause();
}
// heir keeps the memory of a program that goes on as another.
static char heir_stack[65536];
static int heir(void *a) { (void)a; prctl(PR_SET_PDEATHSIG, SIGKILL); for (;;) pause(); }
static void *spin(void *a) { volatile long x = 0; (void)a; for (;;) x++; }

// jit maps and unmaps executable memory all the time.
static void *jit(void *a) {
	(void)a;
	for (;;) {
		void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(p, 8192, PROT_READ | PROT_EXEC);
		munmap(p, 8192);
	}
}
// vforker's child lives for a while in the same memory.
static void *vforker(void *a) {
	(void)a;
	for (;;) {
		if (vfork() == 0) { struct timespec t = {0, 300000000}; syscall(SYS_nanosleep, &t, NULL); _exit(0); }
		wait(NULL);
	}
}

// sleeper sleeps while its process starts another program.
static void on_usr2(int sig) { (void)sig; leave = 1; }
static void *sleeper(void *a) { (void)a; for (;;) pause(); }

// parent starts a thread when SIGUSR1 comes.
static void *parent(void *a) {
	pthread_t t;
	int sig;
	(void)a;
	sigwait(&usr1, &sig);
	pthread_create(&t, NULL, sleeper, NULL);
	for (;;) pause();
}

int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t t;
	hold = 1;
	if (!strcmp(how, "filtered-thread")) { pthread_create(&t, NULL, filtered, NULL); pthread_create(&t, NULL, spin, NULL); }
	if (!strcmp(how, "filtered-main")) { pthread_create(&t, NULL, spin, NULL); confine(); }
	if (!strcmp(how, "latecomer")) {
		if (argc > 2) unwanted = atoi(argv[2]);
		sigaddset(&usr1, SIGUSR1);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
		for (int i = 0; i < 2; i++) pthread_create(&t, NULL, latecomer, NULL); // one may be borrowed
	}
	if (!strcmp(how, "heir-fixed") && !(personality(-1) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execl("/proc/self/exe", argv[0], how, NULL);
	}
	if (!strncmp(how, "heir", 4)) clone(heir, heir_stack + sizeof heir_stack, CLONE_VM | SIGCHLD, NULL);
	// Its first thread runs, and starts an heir when it is told to.
	if (!strncmp(how, "late-heir", 9)) {
		answer("ready %d", getpid());
		while (!leave) ;
		if (clone(heir, heir_stack + sizeof heir_stack, CLONE_VM | (!strcmp(how, "late-heir-silent") ? 0 : SIGCHLD), NULL) < 0) exit(9);
	}
	if (!strcmp(how, "jit")) pthread_create(&t, NULL, jit, NULL);
	if (!strcmp(how, "vfork")) pthread_create(&t, NULL, vforker, NULL);
	if (!strcmp(how, "split")) { pthread_create(&t, NULL, split, NULL); while (!inside) usleep(1000); }
	if (!strcmp(how, "leaves") || !strcmp(how, "leaves-often")) { // its first thread runs, the others sleep
		struct sigaction act = {.sa_handler = on_usr2};
		int often = !strcmp(how, "leaves-often"), left = argc > 2 ? atoi(argv[2]) : 0;
		sigset_t usr2;
		sigemptyset(&usr2);
		sigaddset(&usr2, SIGUSR2);
		sigaction(SIGUSR2, &act, NULL);
		sigprocmask(SIG_BLOCK, &usr2, NULL);
		sigaddset(&usr1, SIGUSR1);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
		for (int i = 0; i < (often ? 60 : 2); i++) pthread_create(&t, NULL, i == 0 && !often ? parent : sleeper, NULL);
		sigprocmask(SIG_UNBLOCK, &usr2, NULL);
		if (!often) {
			usleep(20000); // the others sleep by then
			answer("ready %d", getpid());
			while (!leave) ;
			execl("/proc/self/exe", argv[0], "again", NULL);
		} else if (left > 0) {
			char less[16];
			if (left == 100) answer("ready %d", getpid());
			usleep(2000 + left * 37 % 3000);
			snprintf(less, sizeof less, "%d", left - 1);
			execl("/proc/self/exe", argv[0], how, less, NULL);
		}
	}
	if (!strcmp(how, "exec") && argc > 2 && atoi(argv[2]) > 0) { // start itself again and again
		char left[16];
		usleep(2000);
		snprintf(left, sizeof left, "%d", atoi(argv[2]) - 1);
		if (atoi(argv[2]) == 400) answer("ready %d", getpid());
		execl("/proc/self/exe", argv[0], "exec", left, NULL);
		return 1;
	}
	if (!strncmp(how, "late-heir", 9)) ;
	else if (strcmp(how, "exec") && strcmp(how, "leaves-often")) answer("ready %d", getpid());
	else answer("settled");
	usleep(50000);
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'o': answer("%d", outer(1)); break;
		case 'x': execl("/proc/self/exe", argv[0], "again", NULL); break;
		case 'g': hold = 0; usleep(50000); answer("gone"); break;
		}
}
