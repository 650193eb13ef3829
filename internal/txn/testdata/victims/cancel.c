// A thread that is cancelled below a function that changes: the handlers of its
// callers must run (compiled with -fexceptions).
#include "victim.h"
static atomic_int cleaned, inside;
static void clean(int *n) { cleaned += *n; }
NOINLINE void sleeps(void) { inside = 1; for (;;) usleep(1000); }
NOINLINE int fixed_function(int n) {
	ROOM;
	if (n == 42) sleeps();
	return OLD_NEW(n + 1, n + 1000);
}
NOINLINE int outer(int n) {
	int weight __attribute__((cleanup(clean))) = 7;
	return fixed_function(n) + weight;
}
static void *work(void *a) { (void)a; outer(42); return NULL; }
static int cancel(void) {
	pthread_t t;
	cleaned = inside = 0;
	pthread_create(&t, NULL, work, NULL);
	while (!inside) usleep(100);
	pthread_cancel(t);
	pthread_join(t, NULL);
	return cleaned;
}
int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("cleaned=%d", cancel()); break;
		}
}
