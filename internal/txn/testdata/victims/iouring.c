// A worker of io_uring sleeps in a transfer between two pipes for the process; so
// it does again and again. c: how many ended without having moved anything; p: let
// the one that is under way end.
#include "victim.h"
#include <linux/io_uring.h>
#include <sys/mman.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static int ring, in[2], out[2];
static struct io_uring_params p;
static char *sq, *cq;
static struct io_uring_sqe *entries;
static atomic_int ended, moved, last;

static unsigned *at(char *queue, unsigned off) { return (unsigned *)(void *)(queue + off); }

static void submit(void) {
	unsigned tail = *at(sq, p.sq_off.tail), i = tail & *at(sq, p.sq_off.ring_mask);
	memset(&entries[i], 0, sizeof entries[i]);
	entries[i] = (struct io_uring_sqe){.opcode = IORING_OP_SPLICE, .fd = out[1], .splice_fd_in = in[0], .splice_off_in = -1ull, .off = -1ull, .len = 100};
	at(sq, p.sq_off.array)[i] = i;
	__atomic_store_n(at(sq, p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1) exit(9);
}
static void *watch(void *a) {
	(void)a;
	for (;;) {
		unsigned head = *at(cq, p.cq_off.head);
		if (__atomic_load_n(at(cq, p.cq_off.tail), __ATOMIC_ACQUIRE) == head) { usleep(1000); continue; }
		struct io_uring_cqe *c = (void *)(cq + p.cq_off.cqes);
		int res = c[head & *at(cq, p.cq_off.ring_mask)].res;
		__atomic_store_n(at(cq, p.cq_off.head), head + 1, __ATOMIC_RELEASE);
		if (res > 0) moved++; else { last = res; ended++; }
		submit();
	}
}

int main(void) {
	pthread_t t;
	ring = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (ring < 0 || pipe(in) || pipe(out)) { answer("unsupported"); return 0; }
	sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(0, p.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	pthread_create(&t, NULL, watch, NULL);
	submit();
	usleep(100000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': usleep(50000); answer("ended=%d last=%d", ended, last); break;
		case 'p': {
			int before = moved;
			char c;
			if (write(in[1], "x", 1) != 1 || read(out[0], &c, 1) != 1) exit(9);
			for (int i = 0; i < 500 && moved == before; i++) usleep(10000);
			answer("%d", moved - before);
		}
		}
}
