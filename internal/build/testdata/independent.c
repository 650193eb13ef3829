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
#endif
}
#if defined FIXED && HOW == 8 // two functions; f is as with 1
__attribute__((noipa)) int g(int n) { return n * 3 + limit; }
#else
__attribute__((noipa)) int g(int n) { return n * 2 + limit; }
#endif

int main(int argc, char **argv) {
	printf("%d %d %d %d\n", f(argc, argv[0]), g(argc), helper2(argc), (int)(pthread_mutex_trylock(&b) + other++ + limit++));
}
