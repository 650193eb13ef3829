// The daemon of a file system in user space, which waits for requests in readv, as
// that of GlusterFS does. argv[1]: where to mount it.
#include "victim.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/uio.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static int device;

static void *serves(void *unused) {
	static char b[FUSE_MIN_READ_BUFFER * 2];
	const struct fuse_in_header *in = (const void *)b;
	struct { struct fuse_out_header h; struct fuse_init_out init; } out = {
		{.len = sizeof out}, {.major = 7, .minor = 31, .max_write = 4096, .max_background = 8}};
	struct iovec parts[] = {{b, sizeof *in}, {b + sizeof *in, sizeof b - sizeof *in}};
	(void)unused;
	for (;;) {
		ssize_t n = readv(device, parts, 2);
		if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
		if (n <= 0) _exit(2);
		if (in->opcode != FUSE_INIT) continue; // nobody asks for anything
		out.h.unique = in->unique;
		if (write(device, &out, sizeof out) != sizeof out) _exit(3);
	}
}

int main(int argc, char **argv) {
	char options[128];
	pthread_t t;
	const char *q;
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (argc < 2 || device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("filesdaemon", argv[1], "fuse.filesdaemon", 0, options)) { answer("unsupported"); return 0; }
	pthread_create(&t, NULL, serves, NULL);
	usleep(20000);
	answer("ready %d", getpid());
	while ((q = next()))
		if (*q == 'q') answer("%d", fixed_function(1));
	_exit(0);
}
