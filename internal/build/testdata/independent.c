// One function, changed in the way that -DHOW says.
#include <fcntl.h>
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
#elif HOW >= 9 // as one of those below
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
/* In which order two locks are taken, f5 to f12, each where HOW says. */
#ifdef FIXED
#define ORDER(how, x, y) if (HOW == how) { y; x; } else { x; y; }
#else
#define ORDER(how, x, y) x; y;
#endif
struct by { int kind; int (*lock)(pthread_mutex_t *); };
static struct by by = { 1, pthread_mutex_lock };
struct by *volatile ways = &by;
static pthread_mutex_t *one = &a, *two = &b;
static pthread_mutex_t many[8];
struct holder { int kind; pthread_mutex_t *m; };
__attribute__((noipa)) static void enter(pthread_mutex_t *m) { ways->lock(m); }
__attribute__((noipa)) static void enter_number(int n) { if (pthread_mutex_lock(&many[n & 7])) abort(); }
__attribute__((noipa)) static void enter_of(struct pair *p, int n) { if (pthread_mutex_lock(n ? &p->one : &p->two)) abort(); }
__attribute__((noipa)) void f5(void) { ORDER(12, enter(&a), enter(&b)) table[1]++; }
__attribute__((noipa)) void f6(pthread_mutex_t *x, pthread_mutex_t *y) { ORDER(13, pthread_mutex_lock(x), pthread_mutex_lock(y)) table[2]++; }
__attribute__((noipa)) void f7(void) { ORDER(14, pthread_mutex_lock(one), pthread_mutex_lock(two)) table[3]++; }
__attribute__((noipa)) void f8(struct holder *x, struct holder *y) { ORDER(15, pthread_mutex_lock(x->m), pthread_mutex_lock(y->m)) table[4]++; }
__attribute__((noipa)) void f9(void) { ORDER(16, enter_number(1), enter_number(2)) table[5]++; }
__attribute__((noipa)) void f10(struct pair *p) { ORDER(17, enter_of(p, 1), enter_of(p, 0)) table[6]++; }
__attribute__((noipa)) void f11(pthread_mutex_t *volatile x, pthread_mutex_t *volatile y) { ORDER(18, pthread_mutex_lock(x), pthread_mutex_lock(y)) table[7]++; }
static struct flock whole = { .l_type = F_WRLCK };
__attribute__((noipa)) void f12(void) { ORDER(19, fcntl(3, F_SETLKW, &whole), fcntl(4, F_SETLKW, &whole)) table[8]++; }

/* Who calls itself, or is called by what is gone: each where HOW says. */
#if defined FIXED && HOW >= 20
#define MENDED(how, x) (HOW == how ? (x) & 63 : (x))
#else
#define MENDED(how, x) (x)
#endif
__attribute__((noipa)) int f13(int n) { return table[MENDED(20, n) & 127] + limit; }
#if !defined FIXED && HOW == 20
__attribute__((used, noipa)) static int gone(int n) { return f13(n * 2); }
#endif
__attribute__((noinline, noclone)) int f14(int n, int m) {
	if (n > m) return table[MENDED(21, n)];
	return f14(n + 1, m / 2) + f14(n + 2, m / 2);
}
/* Locks that a loop takes, from one end or the other. */
#if defined FIXED && HOW == 22
#define ROUND(i, n) for (int i = (n) - 1; i >= 0; i--)
#else
#define ROUND(i, n) for (int i = 0; i < (n); i++)
#endif
struct link { pthread_mutex_t m; struct link *next, *prev; };
#if defined FIXED && HOW == 23
#define NEXT prev
#else
#define NEXT next
#endif
__attribute__((noipa)) int f15(int n) {
	int s = 0;
	ROUND(i, n) pthread_mutex_lock(&many[i]);
	for (int i = 0; i < n; i++) { s += table[i]; pthread_mutex_unlock(&many[i]); }
	return s;
}
__attribute__((noipa)) int f16(struct link *p, struct link *q) {
	int n = 0;
	for (; p; p = p->NEXT, n++) pthread_mutex_lock(&p->m);
	for (; q; q = q->next) pthread_mutex_unlock(&q->m);
	return n;
}
__attribute__((noipa)) int f17(struct pair *p, int n) {
	int s = limit;
	for (int i = 0; i < n; i++) { /* one at a time, always the same */
		pthread_mutex_lock(&a);
		s += table[MENDED(24, i) & 127];
		pthread_mutex_unlock(&a);
	}
	return s;
}
__attribute__((noipa)) static void take_at(int i) { if (pthread_mutex_lock(&many[i & 7])) abort(); }
#if defined FIXED && HOW == 25
#define LEFT(i, n) (n) - 1 - (i)
#else
#define LEFT(i, n) (i)
#endif
__attribute__((noipa)) void f18(int n) { for (int i = 0; i < n; i++) take_at(LEFT(i, n)); }

/* Which functions are called by way of a table. */
struct device { const struct calls *calls; int n; };
struct calls { void (*first)(struct device *), (*second)(struct device *); };
__attribute__((noipa)) void f19(struct device *o) { ORDER(26, o->calls->first(o), o->calls->second(o)) o->n++; }
__attribute__((noipa)) void f20(struct device *o) {
	o->calls->first(o);
	if (o->n > MENDED(27, limit)) o->n++;
	o->calls->second(o);
}

#if defined FIXED && HOW == 8 // two functions; f is as with 1
__attribute__((noipa)) int g(int n) { return n * 3 + limit; }
#else
__attribute__((noipa)) int g(int n) { return n * 2 + limit; }
#endif

struct pair both = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
int main(int argc, char **argv) {
	do {
		f2(argc), f3(&both), f4(argc, argc + 1);
		struct holder x = { 1, &a }, y = { 2, &b };
		if (argc > 9) f5(), f6(&a, &b), f7(), f8(&x, &y), f9(), f10(&both), f11(&a, &b), f12(), f13(1), f14(1, 2), f15(1), f16(0, 0), f17(&both, 1), f18(1), f19(0), f20(0), one = two, two = &a;
		printf("%d %d %d %d\n", f(argc, argv[0]), g(argc), helper2(argc), (int)(pthread_mutex_trylock(&b) + other++ + limit++));
	} while (argc-- > 9);
}
