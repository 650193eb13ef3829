// A thread hands a read in to io_uring and waits for it in the same call. Another
// answers. d: let the read end. c: what the call returned, and how many reads had
// ended by then.
#include "victim.h"
#include <linux/io_uring.h>
#include <sys/mman.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static struct io_uring_params p;
static int ring, in[2];
static char byte, *sq, *cq;
static atomic_int returned = -1, ended = -1;

static unsigned *at(char *queue, unsigned off) { return (unsigned *)(void *)(queue + off); }

static void *waits(void *a) {
	struct io_uring_sqe *e = a;
	*e = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = in[0], .addr = (uintptr_t)&byte, .len = 1};
	at(sq, p.sq_off.array)[0] = 0;
	__atomic_store_n(at(sq, p.sq_off.tail), 1, __ATOMIC_RELEASE);
	int got = (int)syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	ended = (int)*at(cq, p.cq_off.tail);
	returned = got;
	for (;;) pause();
}

int main(void) {
	pthread_t t;
	const char *q;
	ring = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (ring < 0 || pipe(in)) { answer("unsupported"); return 0; }
	sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	void *entries = mmap(0, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	pthread_create(&t, NULL, waits, entries);
	usleep(100000);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("returned %d ended %d", returned, ended); break;
		case 'd':
			if (write(in[1], "x", 1) != 1) exit(9);
			for (int i = 0; i < 1000 && returned < 0; i++) usleep(10000);
			answer("done");
		}
	exit(0);
}
