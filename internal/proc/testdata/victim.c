// A process to look at. victim MODE [ARG...]; it says "ready" with some facts
// and lives until its standard input ends.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv);

static void ready(void)
{
	printf("ready main=%lx\n", (unsigned long)main);
	fflush(stdout);
}

static void wait_for_end(void)
{
	char c;
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}

static void *sleeper(void *p)
{
	for (;;)
		pause();
}

// The last one standing after main has called pthread_exit.
static void *survivor(void *main_thread)
{
	pthread_join(*(pthread_t *)main_thread, 0);
	ready();
	wait_for_end();
	return 0;
}

static void again(int sig)
{
	execl("/proc/self/exe", "victim", (char *)0);
	_exit(1);
}

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		_exit(1);
	}
}

#ifndef STATIC
static void *load(const char *lib, int space)
{
	void *h = space ? dlmopen(LM_ID_NEWLM, lib, RTLD_NOW) : dlopen(lib, RTLD_NOW);
	if (!h) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(1);
	}
	return h;
}
#endif

// Maps an image as a loader does, and changes the build-id in its own copy of
// the first page.
static void disguise(const char *lib)
{
	int fd = open(lib, O_RDONLY);
	must(fd >= 0, lib);
	char *m = mmap(0, 0x10000, PROT_READ, MAP_PRIVATE, fd, 0);
	must(m != MAP_FAILED, "mmap");
	Elf64_Ehdr *e = (void *)m;
	Elf64_Phdr *p = (void *)(m + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_X)
			must(mmap(m + (p[i].p_vaddr & ~4095ul), p[i].p_memsz, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, p[i].p_offset & ~4095ul) != MAP_FAILED, "mmap");
	must(!mprotect(m, 4096, PROT_READ | PROT_WRITE), "mprotect");
	int changed = 0;
	for (unsigned *w = (void *)m; (char *)w < m + 4096 - 32; w++)
		if (w[0] == 4 && w[2] == 3 && !memcmp(w + 3, "GNU", 4)) {
			w[4] ^= 1;
			changed = 1;
		}
	must(changed, "no build-id");
	must(!mprotect(m, 4096, PROT_READ), "mprotect");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	static pthread_t self;
	pthread_t t;

	if (!strcmp(mode, "threads")) {
		for (int i = atoi(argv[2]); i > 0; i--)
			must(!pthread_create(&t, 0, sleeper, 0), "pthread_create");
	} else if (!strcmp(mode, "zombie")) {
		self = pthread_self();
		must(!pthread_create(&t, 0, survivor, &self), "pthread_create");
		pthread_exit(0);
	} else if (!strcmp(mode, "unset")) {
		must(getenv("PATH") && !unsetenv("PATH"), "unsetenv");
		environ[0] = 0;
	} else if (!strcmp(mode, "exec")) {
		signal(SIGINT, again);
	} else if (!strcmp(mode, "name")) {
		must(!prctl(PR_SET_NAME, argv[2]), "prctl");
	} else if (!strcmp(mode, "protected")) {
		must(!prctl(PR_SET_DUMPABLE, 0), "prctl");
#ifndef STATIC
	} else if (!strcmp(mode, "load")) {
		load(argv[2], 0);
	} else if (!strcmp(mode, "twice")) {
		load(argv[2], 0);
		load(argv[2], 1);
#endif
	} else if (!strcmp(mode, "disguise")) {
		disguise(argv[2]);
	} else if (!strcmp(mode, "data")) {
		struct stat st;
		int fd = open(argv[2], O_RDONLY);
		must(fd >= 0 && !fstat(fd, &st), argv[2]);
		must(mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED, "mmap");
	}
	ready();
	wait_for_end();
}
