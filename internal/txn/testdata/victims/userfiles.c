// A thread opens a file of a file system in user space, or writes to one where
// argv[2] says so. The daemon takes its time and gives up what it is told was
// interrupted. argv[1]: where to mount it.
// c: how often that was, and what the call returned; a: answer it.
#include "victim.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static struct { atomic_int opened, interrupted, answered, returned; } *shared;
static int device, writes;

static void reply(uint64_t unique, int error, const void *data, size_t size) {
	char b[512];
	struct fuse_out_header h = {.len = (uint32_t)(sizeof h + size), .error = -error, .unique = unique};
	memcpy(b, &h, sizeof h);
	if (size) memcpy(b + sizeof h, data, size);
	if (write(device, b, h.len) < 0) return; // it was given up
}
static struct fuse_attr attributes(uint64_t node) {
	struct fuse_attr a = {.ino = node, .nlink = 1, .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644};
	return a;
}
static void request(const struct fuse_in_header *in, const void *data) {
	static uint64_t waits;
	struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 4096, .max_background = 8};
	struct fuse_attr_out attr = {.attr = attributes(in ? in->nodeid : 1)};
	struct fuse_entry_out entry = {.nodeid = 2, .attr = attributes(2)};
	struct fuse_open_out open = {0};
	struct fuse_write_out written = {.size = 4};
	switch (in ? in->opcode : 0) {
	case 0: // nothing came
		if (waits && shared->answered) {
			if (writes) reply(waits, 0, &written, sizeof written);
			else reply(waits, 0, &open, sizeof open);
			waits = 0;
		}
		break;
	case FUSE_INIT: reply(in->unique, 0, &init, sizeof init); break;
	case FUSE_GETATTR: reply(in->unique, 0, &attr, sizeof attr); break;
	case FUSE_LOOKUP: reply(in->unique, 0, &entry, sizeof entry); break;
	case FUSE_OPEN:
		if (writes) { reply(in->unique, 0, &open, sizeof open); break; }
		// fallthrough
	case FUSE_WRITE: waits = in->unique; shared->opened = 1; break;
	case FUSE_INTERRUPT:
		if (((const struct fuse_interrupt_in *)data)->unique != waits) break;
		shared->interrupted++;
		reply(waits, EINTR, NULL, 0);
		waits = 0;
		break;
	case FUSE_FORGET: case FUSE_BATCH_FORGET: break;
	case FUSE_RELEASE: reply(in->unique, 0, NULL, 0); break;
	default: reply(in->unique, ENOSYS, NULL, 0);
	}
}
static void daemon_(void) {
	static char b[FUSE_MIN_READ_BUFFER * 2];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd p = {.fd = device, .events = POLLIN};
		if (poll(&p, 1, 5) == 1) {
			ssize_t n = read(device, b, sizeof b);
			if (n < 0 && errno == ENODEV) _exit(0);
			if (n > 0) request((void *)b, b + sizeof(struct fuse_in_header));
		}
		request(NULL, NULL);
	}
}
static void *opens(void *a) {
	char name[256];
	snprintf(name, sizeof name, "%s/file", (char *)a);
	int fd = open(name, writes ? O_WRONLY : O_RDONLY);
	shared->returned = fd < 0 || writes && write(fd, "data", 4) != 4 ? errno : 1000;
	for (;;) pause();
}

int main(int argc, char **argv) {
	char options[128];
	pthread_t t;
	const char *q;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	writes = argc > 2 && !strcmp(argv[2], "write");
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (argc < 2 || device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("userfiles", argv[1], "fuse.userfiles", 0, options)) { answer("unsupported"); return 0; }
	if (fork() == 0) daemon_();
	close(device); // its end ends all that waits for it
	pthread_create(&t, NULL, opens, argv[1]);
	while (!shared->opened) usleep(1000);
	usleep(20000);
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("interrupted %d returned %d", shared->interrupted, shared->returned); break;
		case 'a':
			shared->answered = 1;
			for (int i = 0; i < 1000 && !shared->returned; i++) usleep(10000);
			answer("answered");
		}
	_exit(0);
}
