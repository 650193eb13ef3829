// A program that loads libanswer (argv[1]) when asked, drops it when asked, and
// has a thread blocked inside it.
#include "victim.h"
#include <dlfcn.h>
static int (*answer_of)(int);
static int (*blocked_in_library)(int);
static void *handle;
static int pipes[2];
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
		case 'u': dlclose(handle); answer("unloaded"); break;
		case 'q': answer("%d %d", fixed_function(1), answer_of ? answer_of(1) : 0); break;
		}
}
