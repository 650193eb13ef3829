// A system call of the first thread is made by a supervisor, which takes its time:
// getppid, or sendto where argv[1] says so.
// c: how many such calls were taken, and what the first returned; a: answer it.
#include "victim.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int listener = -1, taken, answered, returned;

static void *supervisor(void *a) {
	struct seccomp_notif n;
	(void)a;
	while (listener < 0) usleep(1000);
	for (;;) {
		memset(&n, 0, sizeof n);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n)) continue;
		taken++;
		while (!answered) usleep(1000);
		struct seccomp_notif_resp r = {.id = n.id, .val = 42};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
}
static void *answers(void *a) {
	const char *q;
	(void)a;
	while (!taken) usleep(1000);
	usleep(50000);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("taken %d returned %d", taken, returned); break;
		case 'a':
			answered = 1;
			for (int i = 0; i < 1000 && !returned; i++) usleep(10000);
			answer("answered");
		}
	exit(0);
}

int main(int argc, char **argv) {
	int sends = argc > 1 && !strcmp(argv[1], "sendto");
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, sends ? SYS_sendto : SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	pthread_t t;
	pthread_create(&t, NULL, supervisor, NULL);
	pthread_create(&t, NULL, answers, NULL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &p);
	if (listener < 0) { answer("unsupported"); return 0; }
	returned = sends ? (int)sendto(-1, "data", 4, 0, NULL, 0) : (int)syscall(SYS_getppid);
	for (;;) pause();
}
