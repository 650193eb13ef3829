// A loop that its caller jumped to, so that nobody who changes is on the stack
// below it. In the fixed program it is part of its caller, and what it calls takes
// other arguments. An earlier fix (-DFIXED=2) changes the loop alone.
#include "victim.h"

#ifndef FIXED
#define FIXED 0
#endif
static atomic_int inside, hold;
static pthread_t worker;
static char out[8];
static void wait_here(void) { inside = 1; while (hold) usleep(1000); }
#if FIXED == 1
NOINLINE static void put(size_t room, const char *s, size_t n) { n = n < room ? n : room - 1; memcpy(out, s, n); out[n] = 0; }
#define PUT(s, n) put(sizeof out, s, n)
#define SHAPE static inline __attribute__((always_inline))
#else
NOINLINE static void put(const char *s, size_t n) { memcpy(out, s, n); out[n] = 0; }
#define PUT(s, n) put(s, n)
#define SHAPE NOINLINE static
#endif
SHAPE int serve(int rounds) {
	for (int i = 0; i < rounds; i++) {
		wait_here();
#if FIXED == 2
		PUT("Hello", 5);
#else
		PUT("hello", 5);
#endif
	}
	return rounds;
}
NOINLINE int run(int n) { if (n < 0) return n; PUT("run", 3); return serve(n); }
NOINLINE int other(void) { return FIXED == 1 ? 2 : 1; }
static void *work(void *a) { (void)a; run(1); return NULL; }

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': run(1); answer("%s %d", out, other()); break;
		case 'h': inside = 0; hold = 1; pthread_create(&worker, NULL, work, NULL); while (!inside) usleep(1000); answer("held"); break;
		case 'g': hold = 0; pthread_join(worker, NULL); answer("%s", out); break;
		}
}
