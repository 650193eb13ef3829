// Threads that wait for ever with the lock of malloc, of the dynamic loader and
// of stdio held: whoever runs the program's own functions to bring code in
// deadlocks here.
#include "victim.h"
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_int hold = 1, held, ready, go;
static char *page;
static void wait_here(void) { held++; while (hold) { struct timespec t = {0, 1000000}; nanosleep(&t, NULL); } }
// The heap's own records cannot be reached: malloc stops in the middle.
static void on_segv(int s) { (void)s; wait_here(); mprotect(page, 4096, PROT_READ | PROT_WRITE); }
static void *in_malloc(void *a) { void *volatile p; (void)a; ready = 1; while (!go) usleep(1000); p = malloc(100000); free(p); return NULL; }
static int callback(struct dl_phdr_info *i, size_t n, void *a) { (void)i; (void)n; (void)a; wait_here(); return 1; }
static void *in_loader(void *a) { (void)a; dl_iterate_phdr(callback, NULL); return NULL; }
static void *in_stdio(void *a) { (void)a; flockfile(stdout); flockfile(stderr); wait_here(); funlockfile(stderr); funlockfile(stdout); return NULL; }

int main(void) {
	struct sigaction sa = {.sa_handler = on_segv};
	pthread_t t[3];
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	sigaction(SIGSEGV, &sa, NULL);
	pthread_create(&t[1], NULL, in_loader, NULL);
	while (held < 1) usleep(1000);
	pthread_create(&t[2], NULL, in_stdio, NULL);
	while (held < 2) usleep(1000);
	pthread_create(&t[0], NULL, in_malloc, NULL);
	while (!ready) usleep(1000); // it has what it needs from malloc itself
	char *p = malloc(8192); // the heap's unused top begins behind it
	page = (char *)((uintptr_t)(p + malloc_usable_size(p)) & ~4095ul);
	mprotect(page, 4096, PROT_NONE);
	go = 1;
	while (held < 3) usleep(1000);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'h': answer("held=%d", held); break;
		case 'g': hold = 0; for (int i = 0; i < 3; i++) pthread_join(t[i], NULL); answer("gone"); break;
		}
}
