// Old and new code use one thread's variables, each thread its own.
#include "victim.h"

static __thread int counter = 5;
__thread int exported = 7;
NOINLINE int fixed_function(int n) { counter += n; return OLD_NEW(counter, counter * 1000 + exported); }

static int results[2];
static pthread_barrier_t b;
static void *work(void *a) {
	long me = (long)a;
	exported = 10 + (int)me;
	fixed_function((int)me * 100); // before
	for (;;) {
		pthread_barrier_wait(&b);
		results[me] = fixed_function(0);
		pthread_barrier_wait(&b);
	}
}
int main(void) {
	pthread_t t;
	pthread_barrier_init(&b, NULL, 3);
	for (long i = 0; i < 2; i++) pthread_create(&t, NULL, work, (void *)i);
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') {
		pthread_barrier_wait(&b);
		pthread_barrier_wait(&b);
		answer("%d %d", results[0], results[1]);
	}
}
