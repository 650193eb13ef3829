// A program that loads libanswer (argv[1]) when asked, drops it when asked, and
// has a thread blocked inside it.
#include "victim.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
static int (*answer_of)(int);
static int (*blocked_in_library)(int);
static void *handle;
static int pipes[2];
static unsigned char *shared;
enum { SHARED = 4096 };
// map_shared puts a file that is shared for writing where the library was.
static void map_shared(void) {
	char name[] = "/tmp/hotpatch-victim-XXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	if (fd < 0 || ftruncate(fd, SHARED)) exit(1);
	uintptr_t at = (uintptr_t)answer_of & ~4095ul;
	shared = mmap((void *)at, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (shared == MAP_FAILED) { answer("%s", strerror(errno)); exit(1); }
}
static int intact(void) {
	for (int i = 0; i < SHARED; i++) if (shared[i]) return 0;
	return 1;
}
NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }
static void *blocked(void *a) { (void)a; blocked_in_library(pipes[0]); return NULL; }
static void load(const char *path) {
	handle = dlopen(path, RTLD_NOW);
	if (!handle) { answer("%s", dlerror()); exit(1); }
	answer_of = (int (*)(int))dlsym(handle, "answer_of");
	blocked_in_library = (int (*)(int))dlsym(handle, "blocked_in_library");
}
int main(int argc, char **argv) {
	pthread_t t;
	if (argc < 2 || pipe(pipes)) return 1;
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'l': load(argv[1]); answer("loaded"); break;
		case 'b': pthread_create(&t, NULL, blocked, NULL); usleep(20000); answer("blocked"); break;
		case 'm': map_shared(); answer("mapped"); break;
		case 'i': answer(intact() ? "intact" : "written"); break;
		case 'u': dlclose(handle); answer("unloaded"); break;
		case 'q': answer("%d %d", fixed_function(1), answer_of ? answer_of(1) : 0); break;
		}
}
