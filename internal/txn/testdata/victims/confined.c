// Processes that are hard to change: the argument says how.
#include "victim.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static void seccomp(uint32_t action) { // mmap and mprotect end in action
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) exit(9);
}
// memory_deny_write_execute is what systemd installs for a service with that
// setting: nothing writable becomes executable.
static void memory_deny_write_execute(void) {
	enum { ARG2 = offsetof(struct seccomp_data, args[2]), WX = PROT_WRITE | PROT_EXEC };
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG2),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, WX),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WX, 4, 5),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pkey_mprotect, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG2),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) exit(9);
	char *m = mmap(NULL, 4096, PROT_READ | WX, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m != MAP_FAILED) exit(9); // the filter does not work
}
static void questions(void) {
	const char *q;
	answer("ready %d", getpid());
	while ((q = next()))
		if (*q == 'q') answer("%d", fixed_function(1));
		else if (*q == 'f') { // a forked child inherits everything
			fflush(stdout);
			pid_t p = fork();
			if (p == 0) { answer("%d", fixed_function(1)); _exit(0); }
			waitpid(p, NULL, 0);
		}
	exit(0);
}
static void *thread(void *a) { (void)a; questions(); return NULL; }
static void *vforks(void *a) {
	(void)a;
	for (;;) if (vfork() == 0) { struct timespec t = {0, 30000000}; syscall(SYS_nanosleep, &t, NULL); _exit(0); } else wait(NULL);
	return NULL;
}

int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t t;
	if (!strcmp(how, "seccomp-kill")) seccomp(SECCOMP_RET_KILL_PROCESS);
	if (!strcmp(how, "seccomp-errno")) seccomp(SECCOMP_RET_ERRNO | EPERM);
	if (!strcmp(how, "systemd")) memory_deny_write_execute();
	if (!strcmp(how, "mdwe") && prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0)) { answer("unsupported"); return 0; }
	if (!strcmp(how, "as-limit")) { struct rlimit r = {1 << 20, 1 << 20}; setrlimit(RLIMIT_AS, &r); }
	if (!strcmp(how, "zombie-leader")) { pthread_create(&t, NULL, thread, NULL); pthread_exit(NULL); }
	if (!strcmp(how, "ignore-trap")) signal(SIGTRAP, SIG_IGN);
	if (!strcmp(how, "vfork")) pthread_create(&t, NULL, vforks, NULL);
	if (!strcmp(how, "undumpable")) prctl(PR_SET_DUMPABLE, 0);
	questions();
}
