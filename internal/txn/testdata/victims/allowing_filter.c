// Threads sleep with a time-out under a seccomp filter that allows everything, as in
// most containers. With an argument only one of them has the filter. c: how many
// came back, and why.
#include "victim.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
static atomic_int back, err;
static void confine(void) {
	struct sock_filter f[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog p = {1, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p)) exit(9);
}
static void *in_nanosleep(void *a) { struct timespec t = {3600, 0}; (void)a; if (syscall(SYS_nanosleep, &t, NULL)) err = errno; back++; return NULL; }
static void *in_poll(void *a) { (void)a; if (poll(NULL, 0, 3600 * 1000) < 0) err = errno; back++; return NULL; }
static void *in_futex(void *a) { static int word; struct timespec t = {3600, 0}; (void)a;
	if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0)) err = errno; back++; return NULL; }
static void *own(void *a) { confine(); return in_nanosleep(a); }
int main(int argc, char **argv) {
	pthread_t t;
	if (argc == 1) confine();
	if (argc > 1) pthread_create(&t, NULL, own, NULL);
	usleep(10000);
	pthread_create(&t, NULL, in_nanosleep, NULL);
	pthread_create(&t, NULL, in_poll, NULL);
	pthread_create(&t, NULL, in_futex, NULL);
	usleep(100000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		if (*q == 'c') { usleep(20000); answer("back=%d err=%d", back, err); }
		else answer("%d", fixed_function(1));
}
