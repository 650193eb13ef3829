// A library that two compilers (or two sets of flags) made: objects on the heap
// hold the addresses of its functions, variables what has happened, and local
// functions have what conventions the compiler likes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

struct class {
	int (*start)(int), (*stop)(int), (*reload)(int), (*count)(int), (*name)(int), (*size)(int), (*hash)(int), (*last)(int);
	int made;
};
struct pair { int a, b; char text[32]; };

static struct class *the_class;
static int calls, started, stopped;
static long total;
static char journal[256];

// Local functions that a compiler may clone, split or hand other arguments.
static NOINLINE int weigh(const struct pair *p, int unused, int k) { (void)unused; return p->a * k + p->b + (int)strlen(p->text); }
static NOINLINE void note(const char *what, int n) {
	char line[64];
	snprintf(line, sizeof line, "%s:%d;", what, n);
	if (strlen(journal) + strlen(line) < sizeof journal)
		strcat(journal, line);
	calls++;
}

#define WORK(f, text, k, fix)                                                 \
	static NOINLINE int f##_work(int n, const char *s) {                  \
		struct pair p = {n, k, text};                                 \
		int v = k;                                                    \
		for (int i = 0; i < n % 7 + 2; i++)                           \
			v = v * (k + 2) + s[i % 3] + (v >> (k % 5 + 1));      \
		if (v & 1)                                                    \
			v += (int)strtol(s + k % 2, 0, 10) + weigh(&p, n, k); \
		for (int i = n % 9; i > 0; i -= 2)                            \
			v ^= atoi(s + i % 4) * (k + 1) + (int)strlen(s);      \
		total += v & 0xff;                                            \
		return (v & 0xffff) fix;                                      \
	}                                                                     \
	static NOINLINE int f(int n) {                                                 \
		note(text, n);                                                \
		return f##_work(n, text " 1234567");                          \
	}

#ifdef FIXED
#define FIX +100000
#else
#define FIX
#endif

WORK(start_it, "start", 3, )
WORK(stop_it, "stop", 4, FIX)
WORK(reload_it, "reload", 5, )
WORK(count_it, "count", 6, )
WORK(name_it, "name", 7, )
WORK(size_it, "size", 8, )
WORK(hash_it, "hash", 9, )
WORK(last_it, "last", 10, )
WORK(extra_a, "alpha", 11, )
WORK(extra_b, "beta", 12, )
WORK(extra_c, "gamma", 13, )
WORK(extra_d, "delta", 14, )
WORK(extra_e, "epsilon", 15, )
WORK(extra_f, "zeta", 16, )
WORK(extra_g, "eta", 17, )
WORK(extra_h, "theta", 18, )
WORK(extra_i, "iota", 19, )
WORK(extra_k, "kappa", 20, )
WORK(extra_l, "lambda", 21, )
WORK(extra_m, "mu", 22, )
WORK(extra_n, "nu", 23, )

static void fill(struct class *c) {
	c->start = start_it;
	c->stop = stop_it;
	c->reload = reload_it;
	c->count = count_it;
	c->name = name_it;
	c->size = size_it;
	c->hash = hash_it;
	c->last = last_it;
	c->made = 1;
	note("fill", 1);
}

static struct class *made(void) {
	if (!the_class) {
		the_class = calloc(1, sizeof *the_class);
		fill(the_class);
	}
	return the_class;
}

static int by_length(const void *a, const void *b) { return (int)strlen(*(char *const *)a) - (int)strlen(*(char *const *)b); }

// lib_forget makes all new.
void lib_forget(void) {
	free(the_class);
	the_class = 0;
	memset(journal, 0, sizeof journal);
	calls = started = stopped = 0;
	total = 0;
}

int lib_direct(int n) {
	started += n;
	return extra_a(n) + extra_b(n) + extra_c(n) + extra_d(n) + extra_e(n) + extra_f(n);
}

int lib_more(int n) {
	stopped -= n;
	return extra_g(n) + extra_h(n) + extra_i(n) + extra_k(n) + extra_l(n) + extra_m(n) + extra_n(n) + started;
}

int lib_sorted(int n) {
	const char *words[] = {"three", "to", "sixteen", "one"};
	qsort(words, 4, sizeof *words, by_length);
	note("sorted", n);
	return words[n & 3][0];
}

const char *lib_ask(char what, int n, char *out, int size) {
	struct class *c = made();
	int v = 0;
	switch (what) {
	case 's': v = c->start(n); break;
	case 'p': v = c->stop(n); break;
	case 'r': v = c->reload(n); break;
	case 'c': v = c->count(n); break;
	case 'n': v = c->name(n); break;
	case 'z': v = c->size(n); break;
	case 'h': v = c->hash(n); break;
	case 'l': v = c->last(n); break;
	case 'd': v = lib_direct(n); break;
	case 'm': v = lib_more(n); break;
	case 'q': v = lib_sorted(n); break;
	case 'j': snprintf(out, size, "%s", journal); journal[0] = 0; return out;
	}
	snprintf(out, size, "%d calls=%d total=%ld %d", v, calls, total, started + stopped);
	return out;
}
