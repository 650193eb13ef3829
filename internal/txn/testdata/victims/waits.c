// A thread for each of many ways to wait in the kernel; signals are blocked in all
// of them, so that nothing ends a wait. argv[1]: a directory of its own.
// c: which waits have ended since it was last asked, and how.
#include "victim.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static const char *dir;
static pid_t child;
static int queues[3];
static const struct timespec hour = {3600, 0}; // in memory that cannot be written
static const struct timeval hour_us = {3600, 0};

static struct timespec later(int clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_sec += 3600;
	return t;
}
static sigset_t only(int sig) { sigset_t m; sigemptyset(&m); sigaddset(&m, sig); return m; }
static sigset_t but(int sig) { sigset_t m; sigfillset(&m); sigdelset(&m, sig); return m; }
static int file(const char *name) {
	char p[300];
	snprintf(p, sizeof p, "%s/%s", dir, name);
	return open(p, O_RDWR | O_CREAT, 0600);
}
static int end_of_pipe(int which) { int p[2]; return pipe(p) ? -1 : p[which]; }
static int timed(int s) {
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &hour_us, sizeof hour_us);
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &hour_us, sizeof hour_us);
	return s;
}
static int pair(int type) { int s[2]; return socketpair(AF_UNIX, type, 0, s) ? -1 : s[0]; }
static struct sockaddr_in listening(int *s) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	*s = socket(AF_INET, SOCK_STREAM, 0);
	bind(*s, (void *)&a, n);
	listen(*s, 0);
	getsockname(*s, (void *)&a, &n);
	return a;
}
static int listener(void) { int s; listening(&s); return s; }
static int full_socket(void) {
	static char b[1 << 16];
	int s = timed(pair(SOCK_STREAM));
	while (send(s, b, sizeof b, MSG_DONTWAIT) > 0) {}
	while (send(s, b, 1, MSG_DONTWAIT) > 0) {}
	return s;
}
static int full_eventfd(void) {
	int f = eventfd(0, 0);
	uint64_t most = ~1ull;
	return write(f, &most, 8) == 8 ? f : -1;
}
static int full_pipe(void) {
	static char b[65536];
	int f = end_of_pipe(1);
	return write(f, b, sizeof b) == sizeof b ? f : -1;
}
static int armed_timer(void) {
	struct itimerspec i = {.it_value = hour};
	int f = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(f, 0, &i, NULL);
	return f;
}
static int watched(void) { int f = inotify_init1(0); inotify_add_watch(f, dir, IN_DELETE_SELF); return f; }
static mqd_t queue(const char *name) {
	struct mq_attr a = {.mq_maxmsg = 1, .mq_msgsize = 8};
	mqd_t q = mq_open(name, O_RDWR | O_CREAT, 0600, &a);
	mq_unlink(name);
	return q;
}
static int terminal(int master) { int m, s; return openpty(&m, &s, NULL, NULL, NULL) ? -1 : master ? m : s; }
static int ring(void) { struct io_uring_params p = {0}; return (int)syscall(SYS_io_uring_setup, 4, &p); }
static int locked(const char *name, int ofd) { // by another description of the file
	struct flock l = {.l_type = F_WRLCK};
	int f = file(name), g = file(name);
	if (ofd ? fcntl(f, F_OFD_SETLK, &l) : flock(f, LOCK_EX)) return -1;
	return g;
}
static int faults(void) {
	struct uffdio_api a = {.api = UFFD_API};
	int u = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	ioctl(u, UFFDIO_API, &a);
	return u;
}
static long touches(void) {
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = {.range = {(uintptr_t)p, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(faults(), UFFDIO_REGISTER, &r)) pause();
	return *(volatile char *)p;
}
static long connects(int give_up) {
	int s, r = 0;
	struct sockaddr_in a = listening(&s);
	for (int i = 0; i < 4; i++) {
		int c = socket(AF_INET, SOCK_STREAM, 0);
		r = connect(give_up ? timed(c) : c, (void *)&a, sizeof a);
	}
	return r;
}
static long opens_fifo(void) {
	char p[300];
	snprintf(p, sizeof p, "%s/fifo", dir);
	mkfifo(p, 0600);
	return open(p, O_RDONLY);
}
static long waits_v(void) {
	static uint32_t w;
	struct { uint64_t value, at; uint32_t flags, none; } v = {0, (uintptr_t)&w, 2 | FUTEX_PRIVATE_FLAG, 0};
	struct timespec t = later(CLOCK_MONOTONIC);
	return syscall(449 /* futex_waitv */, &v, 1, 0, &t, CLOCK_MONOTONIC);
}
static long waits_ring(void) {
	struct { uint64_t mask; uint32_t size, none; uint64_t at; } x = {0, 8, 0, (uintptr_t)&hour};
	int f = ring();
	return f < 0 ? pause() : syscall(SYS_io_uring_enter, f, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &x, sizeof x);
}

static char buf[65536]; // what is read and written does not matter
static uint32_t word;
static struct epoll_event event;
static struct iovec vec = {buf, 1};
static struct sembuf down = {0, -1, 0};
static struct flock whole = {.l_type = F_WRLCK};

#define WAITS \
	W(read(end_of_pipe(0), buf, 1)) \
	W(readv(end_of_pipe(0), &vec, 1)) \
	W(write(full_pipe(), buf, 1)) \
	W(epoll_wait(epoll_create1(0), &event, 1, -1)) \
	W(epoll_wait(epoll_create1(0), &event, 1, 3600000)) \
	W(({ sigset_t m = but(SIGUSR1); epoll_pwait(epoll_create1(0), &event, 1, -1, &m); })) \
	W(syscall(441 /* epoll_pwait2 */, epoll_create1(0), &event, 1, &hour, NULL, 8)) \
	W(poll(NULL, 0, -1)) \
	W(poll(NULL, 0, 3600000)) \
	W(({ struct timespec t = hour; sigset_t m = but(SIGUSR1); ppoll(NULL, 0, &t, &m); })) \
	W(syscall(SYS_ppoll, NULL, 0, &hour, NULL, 8)) \
	W(({ struct timeval t = hour_us; select(0, NULL, NULL, NULL, &t); })) \
	W(syscall(SYS_select, 0, NULL, NULL, NULL, &hour_us)) \
	W(({ struct timespec t = hour; sigset_t m = but(SIGUSR1); pselect(0, NULL, NULL, NULL, &t, &m); })) \
	W(nanosleep(&hour, NULL)) \
	W(({ struct timespec left; nanosleep(&hour, &left); })) \
	W(({ struct timespec t = later(CLOCK_MONOTONIC); clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); })) \
	W(pause()) \
	W(({ sigset_t m = but(SIGUSR1); sigsuspend(&m); })) \
	W(({ sigset_t m = only(SIGRTMIN + 5); sigtimedwait(&m, NULL, &hour); })) \
	W(({ sigset_t m = only(SIGRTMIN + 6); sigwaitinfo(&m, NULL); })) \
	W(({ sigset_t m = only(SIGRTMIN + 7); read(signalfd(-1, &m, 0), buf, 128); })) \
	W(read(eventfd(0, 0), buf, 8)) \
	W(({ uint64_t two = 2; write(full_eventfd(), &two, 8); })) \
	W(read(armed_timer(), buf, 8)) \
	W(read(watched(), buf, 512)) \
	W(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL)) \
	W(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &hour)) \
	W(({ struct timespec t = later(CLOCK_MONOTONIC); syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, -1); })) \
	W(({ static int pi; pi = getpid(); syscall(SYS_futex, &pi, FUTEX_LOCK_PI_PRIVATE, 0, NULL); })) \
	W(({ static int pi; syscall(SYS_futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &pi); })) \
	W(waits_v()) \
	W(({ sem_t s; struct timespec t = later(CLOCK_REALTIME); sem_init(&s, 0, 0); sem_timedwait(&s, &t); })) \
	W(mq_receive(queue("/hotpatch-waits-1"), buf, sizeof buf, NULL)) \
	W(({ struct timespec t = later(CLOCK_REALTIME); mq_timedreceive(queue("/hotpatch-waits-2"), buf, sizeof buf, NULL, &t); })) \
	W(({ mqd_t q = queue("/hotpatch-waits-3"); mq_send(q, "x", 1, 0); mq_send(q, "x", 1, 0); })) \
	W(msgrcv(queues[0], buf, 8, 0, 0)) \
	W(semop(queues[1], &down, 1)) \
	W(semtimedop(queues[2], &down, 1, &hour)) \
	W(flock(locked("flock", 0), LOCK_EX)) \
	W(({ struct flock l = whole; fcntl(locked("ofd", 1), F_OFD_SETLKW, &l); })) \
	W(({ struct flock l = whole; fcntl(file("posix"), F_SETLKW, &l); })) \
	W(opens_fifo()) \
	W(waitpid(child, NULL, 0)) \
	W(({ siginfo_t i; waitid(P_PID, (id_t)child, &i, WEXITED); })) \
	W(accept(listener(), NULL, NULL)) \
	W(accept(timed(listener()), NULL, NULL)) \
	W(connects(0)) \
	W(connects(1)) \
	W(recv(pair(SOCK_STREAM), buf, 1, 0)) \
	W(recv(timed(pair(SOCK_STREAM)), buf, 1, 0)) \
	W(recv(timed(pair(SOCK_DGRAM)), buf, 1, 0)) \
	W(read(timed(pair(SOCK_SEQPACKET)), buf, 1)) \
	W(({ struct msghdr m = {.msg_iov = &vec, .msg_iovlen = 1}; recvmsg(timed(pair(SOCK_STREAM)), &m, 0); })) \
	W(({ struct mmsghdr m = {.msg_hdr = {.msg_iov = &vec, .msg_iovlen = 1}}; recvmmsg(pair(SOCK_DGRAM), &m, 1, 0, NULL); })) \
	W(send(full_socket(), buf, 1, 0)) \
	W(({ off_t at = 0; int f = file("sent"); pwrite(f, "x", 1, 0); sendfile(full_socket(), f, &at, 1); })) \
	W(splice(end_of_pipe(0), NULL, end_of_pipe(1), NULL, 1, 0)) \
	W(tee(end_of_pipe(0), end_of_pipe(1), 1, 0)) \
	W(({ aio_context_t c = 0; struct io_event e; syscall(SYS_io_setup, 1, &c); syscall(SYS_io_getevents, c, 1, 1, &e, NULL); })) \
	W(({ aio_context_t c = 0; struct io_event e; syscall(SYS_io_setup, 1, &c); syscall(SYS_io_pgetevents, c, 1, 1, &e, &hour, NULL); })) \
	W(({ int f = ring(); f < 0 ? pause() : syscall(SYS_io_uring_enter, f, 0, 1, IORING_ENTER_GETEVENTS, NULL, 8); })) \
	W(waits_ring()) \
	W(read(terminal(0), buf, 1)) \
	W(read(terminal(1), buf, 1)) \
	W(({ int f = faults(); f < 0 ? pause() : read(f, buf, sizeof(struct uffd_msg)); })) \
	W(touches())

#define W(e) #e,
static const char *names[] = {WAITS};
#undef W
enum { N = sizeof names / sizeof *names };
static atomic_int ended[N];
static struct { long result; int error; } how[N];

static void *wait_(void *a) {
	long i = (long)a, n = 0, r = 0;
	errno = 0;
#define W(e) if (n++ == i) r = (long)(e);
	WAITS
#undef W
	how[i].result = r;
	how[i].error = errno;
	ended[i] = 1;
	return NULL;
}

int main(int argc, char **argv) {
	const char *q;
	sigset_t all;
	int has_lock[2];
	if (argc < 2 || pipe(has_lock)) return 1;
	dir = argv[1];
	if ((child = fork()) == 0) {
		if (fcntl(file("posix"), F_SETLK, &whole) || write(has_lock[1], "x", 1) != 1) _exit(1);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) pause();
	}
	queues[0] = msgget(IPC_PRIVATE, 0600);
	queues[1] = semget(IPC_PRIVATE, 1, 0600);
	queues[2] = semget(IPC_PRIVATE, 1, 0600);
	if (read(has_lock[0], buf, 1) != 1) return 1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (long i = 0; i < N; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, wait_, (void *)i)) return 1;
	}
	usleep(500000);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': {
			int i = 0;
			while (i < N && ended[i] != 1) i++;
			if (i == N) { answer("none of %d", N); break; }
			ended[i] = 2;
			answer("%.200s: %ld (%s)", names[i], how[i].result, strerror(how[i].error));
			break;
		}
		case 'e': // what outlives a process
			msgctl(queues[0], IPC_RMID, NULL);
			semctl(queues[1], 0, IPC_RMID);
			semctl(queues[2], 0, IPC_RMID);
			answer("ended");
		}
	kill(child, SIGKILL);
	_exit(0);
}
