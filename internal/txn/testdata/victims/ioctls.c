// Threads wait in ioctl: one for a notification of seccomp, and one, where there is
// a console, for another terminal. c: how often each was interrupted.
#include "victim.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vt.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int notified, activated, waiting;

static void *supervises(void *a) { // nobody but itself
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {sizeof f / sizeof *f, f};
	struct seccomp_notif n;
	(void)a;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &p);
	for (waiting |= fd >= 0; fd >= 0;) {
		memset(&n, 0, sizeof n);
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0 && errno == EINTR) notified++;
	}
	return NULL;
}
static void *switches(void *a) {
	int fd = open("/dev/tty0", O_RDWR | O_NOCTTY);
	(void)a;
	for (waiting |= fd >= 0; fd >= 0;)
		if (ioctl(fd, VT_WAITACTIVE, 7) < 0 && errno == EINTR) activated++;
		else usleep(1000); // there is no such terminal
	return NULL;
}

int main(void) {
	pthread_t t;
	pthread_create(&t, NULL, supervises, NULL);
	pthread_create(&t, NULL, switches, NULL);
	usleep(100000);
	if (!waiting) { answer("unsupported"); return 0; }
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		if (*q == 'c') answer("notified %d activated %d", notified, activated);
		else answer("%d", fixed_function(1));
}
