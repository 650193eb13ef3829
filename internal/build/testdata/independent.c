// One function, changed in the way that -DHOW says.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static int table[64], limit = 64, other = 3;
static atomic_int counter;
__attribute__((noipa)) static int helper(int n) { return n ^ limit; }
__attribute__((noipa)) static int helper2(int n) { return n + other; }

__attribute__((noipa)) int f(int n, const char *s) {
#if !defined FIXED
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 1 || HOW == 8 // a check
	if (n < 0 || n > 63) return -1;
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 2 // another lock
	pthread_mutex_lock(&b);
	table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&b);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 3 // a call more
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(helper(n));
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 4 // another callee
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper2(n);
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 5 // not atomic any more
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&a);
	atomic_store_explicit(&counter, n, memory_order_relaxed);
	return (int)strlen(s) + n;
#elif HOW == 6 // a variable of its own
	static int seen;
	pthread_mutex_lock(&a);
	if (seen++ < 1000) table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 7 // one more variable
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(n) + limit;
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#elif HOW == 9 || HOW == 10 || HOW == 11 // as f2, f3 and f4
	pthread_mutex_lock(&a);
	table[n & 127 & 63] += helper(n);
	pthread_mutex_unlock(&a);
	counter++;
	return (int)strlen(s) + n;
#endif
}
#if defined FIXED && HOW == 9 // the same locks the other way round
#define TWICE(x, y) y x
#else
#define TWICE(x, y) x y
#endif
__attribute__((noipa)) void f2(int n) {
	TWICE(pthread_mutex_lock(&a);, pthread_mutex_lock(&b);)
	table[n & 63]++;
	pthread_mutex_unlock(&b);
	pthread_mutex_unlock(&a);
}
#if defined FIXED && HOW == 10 // those of an object, by way of a function
#define BOTH(x, y) y x
#else
#define BOTH(x, y) x y
#endif
struct pair { pthread_mutex_t one, two; };
__attribute__((noipa)) static void take(pthread_mutex_t *m) { if (pthread_mutex_lock(m)) abort(); }
__attribute__((noipa)) void f3(struct pair *p) {
	BOTH(take(&p->one);, take(&p->two);)
	table[1]++;
	pthread_mutex_unlock(&p->two);
	pthread_mutex_unlock(&p->one);
}
#if defined FIXED && HOW == 11 // what takes no lock may change places
#define PLACES(x, y) y x
#else
#define PLACES(x, y) x y
#endif
__attribute__((noipa)) void f4(int n, int m) {
	PLACES(n = helper(n);, m = helper2(m);)
	pthread_mutex_lock(&a);
	table[n & 63] += m;
	pthread_mutex_unlock(&a);
}
#if defined FIXED && HOW == 8 // two functions; f is as with 1
__attribute__((noipa)) int g(int n) { return n * 3 + limit; }
#else
__attribute__((noipa)) int g(int n) { return n * 2 + limit; }
#endif

struct pair both = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
int main(int argc, char **argv) {
	f2(argc), f3(&both), f4(argc, argc + 1);
	printf("%d %d %d %d\n", f(argc, argv[0]), g(argc), helper2(argc), (int)(pthread_mutex_trylock(&b) + other++ + limit++));
}
