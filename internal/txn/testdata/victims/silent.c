// It maps code of a file system in user space, whose daemon never gives a page of it,
// for ten seconds. argv[1]: where to mount it, [2]: for how many seconds else. k: end
// the daemon, oFILE: open a file.
#include "victim.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static int device;

static void reply(uint64_t unique, int error, const void *data, size_t size) {
	char b[512];
	struct fuse_out_header h = {.len = (uint32_t)(sizeof h + size), .error = -error, .unique = unique};
	memcpy(b, &h, sizeof h);
	if (size) memcpy(b + sizeof h, data, size);
	if (write(device, b, h.len) < 0) return; // it was given up
}
static struct fuse_attr attributes(uint64_t node) {
	struct fuse_attr a = {.ino = node, .nlink = 1, .size = 8192, .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0755};
	return a;
}
static void daemon_(unsigned seconds) {
	static char b[FUSE_MIN_READ_BUFFER * 2];
	const struct fuse_in_header *in = (const void *)b;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(seconds);
	for (;;) {
		ssize_t n = read(device, b, sizeof b);
		if (n < 0 && errno == ENODEV) _exit(0);
		if (n <= 0) continue;
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 4096, .max_background = 8};
		struct fuse_attr_out attr = {.attr = attributes(in->nodeid), .attr_valid = 1000};
		struct fuse_entry_out entry = {.nodeid = 2, .attr = attributes(2), .entry_valid = 1000, .attr_valid = 1000};
		struct fuse_open_out open = {0};
		switch (in->opcode) {
		case FUSE_INIT: reply(in->unique, 0, &init, sizeof init); break;
		case FUSE_GETATTR: reply(in->unique, 0, &attr, sizeof attr); break;
		case FUSE_LOOKUP: reply(in->unique, 0, &entry, sizeof entry); break;
		case FUSE_OPEN: reply(in->unique, 0, &open, sizeof open); break;
		case FUSE_READ: case FUSE_INTERRUPT: case FUSE_FORGET: case FUSE_BATCH_FORGET: break;
		default: reply(in->unique, ENOSYS, NULL, 0);
		}
	}
}

int main(int argc, char **argv) {
	char options[128], name[256];
	const char *q;
	pid_t daemon;
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (argc < 2 || device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("silent", argv[1], "fuse.silent", 0, options)) { answer("unsupported"); return 0; }
	if ((daemon = fork()) == 0) daemon_(argc > 2 ? (unsigned)atoi(argv[2]) : 10);
	close(device); // its end ends all that waits for it
	snprintf(name, sizeof name, "%s/file", argv[1]);
	int fd = open(name, O_RDONLY);
	if (fd < 0 || mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED) { answer("unsupported"); return 0; }
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'o': close(open(q + 1, O_RDONLY)); answer("opened"); break;
		case 'k': kill(daemon, SIGKILL); answer("ended"); break;
		}
	_exit(0);
}
