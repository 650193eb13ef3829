// The first thread, a second and a third are in the middle of transfers that wait
// for their other ends. Another answers.
// d: drain and fill these, and wait until the transfers are whole. c: what each
// has moved, of 262144.
#include "victim.h"
#include <sys/socket.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

enum { ALL = 1 << 18 };
static char data[3][ALL], drained[ALL], filler[ALL];
static int pipe_[2], sent[2], received[2];
static atomic_int moved[3], begun;

static void *sends(void *a) { (void)a; begun++; moved[1] = (int)send(sent[1], data[1], ALL, 0); for (;;) pause(); }
static void *receives(void *a) { (void)a; begun++; moved[2] = (int)recv(received[0], data[2], ALL, MSG_WAITALL); for (;;) pause(); }

static void drain(int fd) {
	for (int left = ALL; left > 0;) {
		ssize_t n = read(fd, drained, (size_t)left);
		if (n <= 0) exit(9);
		left -= (int)n;
	}
}
static void *answers(void *a) {
	const char *q;
	(void)a;
	while (begun < 3) usleep(1000);
	if (write(received[1], filler, 1000) != 1000) exit(9);
	usleep(50000);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("%d %d %d", moved[0], moved[1], moved[2]); break;
		case 'd':
			drain(pipe_[0]);
			drain(sent[0]);
			if (write(received[1], filler, ALL - 1000) != ALL - 1000) exit(9);
			for (int i = 0; i < 1000 && !(moved[0] && moved[1] && moved[2]); i++) usleep(10000);
			answer("drained");
		}
	exit(0);
}

int main(void) {
	pthread_t t;
	if (pipe(pipe_) || socketpair(AF_UNIX, SOCK_STREAM, 0, sent) || socketpair(AF_UNIX, SOCK_STREAM, 0, received)) return 1;
	pthread_create(&t, NULL, sends, NULL);
	pthread_create(&t, NULL, receives, NULL);
	pthread_create(&t, NULL, answers, NULL);
	begun++;
	moved[0] = (int)write(pipe_[1], data[0], ALL);
	for (;;) pause();
}
