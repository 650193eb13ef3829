// One thread is in uninterruptible sleep: it reads a page that nobody provides.
// Another gets a signal every 5 ms, a third starts threads, a fourth waits 40 ms
// for each vfork child and then works.
// c: the longest time that the second did not run, the third took for a thread and
// the fourth for its work, in microseconds, since the last question.
#include "victim.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

static atomic_long gap, start, work;
static atomic_int up;
static char *page;

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
static void nothing(int unused) { (void)unused; }
static void *ends(void *unused) { return unused; }

static void *stuck(void *unused) {
	char c;
	struct iovec to = {&c, 1}, from = {page, 1};
	up++;
	process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	return unused;
}

static void *signalled(void *unused) {
	(void)unused;
	sigset_t alarm;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	up++;
	for (long last = now(), t;; last = t) {
		usleep(500);
		t = now();
		if (t - last > gap) gap = t - last;
	}
}

static void *starts(void *unused) {
	(void)unused;
	up++;
	for (;; usleep(2000)) {
		pthread_t thread;
		long begin = now();
		pthread_create(&thread, NULL, ends, NULL);
		pthread_join(thread, NULL);
		if (now() - begin > start) start = now() - begin;
	}
}

static void *vforks(void *unused) {
	(void)unused;
	up++;
	for (;;) {
		pid_t child = vfork();
		if (child == 0) {
			struct timespec while_ = {0, 40000000};
			syscall(SYS_nanosleep, &while_, NULL);
			_exit(0);
		}
		long begin = now();
		usleep(1000);
		usleep(1000);
		if (now() - begin > work) work = now() - begin;
		while (waitpid(child, NULL, 0) < 0) {}
	}
}

int main(void) {
	struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	sigset_t alarm;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	sigaction(SIGALRM, &action, NULL);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = {.range = {(unsigned long)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		answer("unsupported");
		return 1;
	}
	void *(*all[])(void *) = {stuck, signalled, starts, vforks};
	for (int i = 0; i < 4; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, all[i], NULL);
	}
	while (up < 4) usleep(1000);
	struct itimerval often = {{0, 5000}, {0, 5000}};
	setitimer(ITIMER_REAL, &often, NULL);
	usleep(100000);
	answer("ready %d", getpid());
	for (const char *q; (q = next());) {
		if (*q == 'c') {
			answer("%ld %ld %ld", gap, start, work);
			gap = start = work = 0;
		} else answer("%d", fixed_function(1));
	}
}
