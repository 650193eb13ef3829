#include "common.h"
/* Who else knows places inside of a function? */
struct program { long n; void *op[64]; long arg[64]; };
static struct program program;
static int limit = 100;
#ifdef FIXED
#define CHECK if (acc > limit) return -1;
#else
#define CHECK
#endif
#if defined FAULTS || defined FAULTS64
/* a table of where to go on after a fault */
#ifdef FAULTS
struct fault { int at, to; };
#define ENTRY ".pushsection faults,\"a\"\n .long 1b - ., %l2 - .\n .popsection"
#define PLACE(m) ((long)&(m) + (m))
#else
struct fault { void *at, *to; };
#define ENTRY ".pushsection faults,\"aw\"\n .quad 1b, %l2\n .popsection"
#define PLACE(m) ((long)(m))
#endif
extern const struct fault __start_faults[], __stop_faults[];
KEEP long after(long at) {
	for (const struct fault *f = __start_faults; f < __stop_faults; f++)
		if (PLACE(f->at) == at) return PLACE(f->to);
	return 0;
}
KEEP long work(long acc) {
#ifdef FIXED
	if (acc == limit) return -3;
#else
	if (acc == limit) return -2;
#endif
	__asm__ volatile goto("1: mov (%0), %%rax\n mov %%rax, %1\n" ENTRY : : "r"(acc), "m"(limit) : "rax", "memory" : bad);
	return acc;
bad:
	return -1;
}
#elif defined RESUME
/* a coroutine that keeps where it goes on */
KEEP long work(long acc) {
	if (program.op[0]) goto *program.op[0];
	program.op[0] = &&second;
	printf("first %ld\n", acc);
	return 1;
second:
	CHECK
	program.op[0] = &&third;
	printf("second %ld\n", acc);
	return 2;
third:
	return 3;
}
#else
#ifdef HANDED
KEEP void emit(struct program *p, void *op) { p->op[p->n++] = op; }
#endif
KEEP long work(long acc) {
#ifdef LOCAL
	void *ops[] = {&&add, &&times, &&print, &&end};
#else
	static void *const ops[] = {&&add, &&times, &&print, &&end};
#endif
	static const unsigned char code[] = {0, 1, 2, 0, 2, 3, 3, 3};
	long i = 0;
#ifdef LOCAL
	__asm__ volatile("" : : "r"(ops) : "memory");
#endif
	if (program.n == 0) {
		for (i = 0; i < 8; i++)
#ifdef THREADED
			program.op[i] = ops[code[i]];
		program.n = i;
#elif defined HANDED
			emit(&program, ops[code[i]]);
#else
			program.arg[i] = code[i];
		program.n = i;
#endif
		i = 0;
#ifdef RETURNED
		return (long)ops;
#endif
	}
#if defined THREADED || defined HANDED
#define NEXT goto *program.op[i++]
#elif defined RETURNED
#define NEXT goto *((void **)program.op[0])[program.arg[i++]]
#else
#define NEXT goto *ops[program.arg[i++]]
#endif
	NEXT;
add:
	CHECK
	acc += limit; NEXT;
times:
	CHECK
	acc *= 3; NEXT;
print:
	printf("acc %ld\n", acc); NEXT;
end:
	return acc;
}
#endif
int main(int argc, char **argv) {
	long x = work(argc);
#ifdef RETURNED
	program.op[0] = (void *)x;
#endif
#if defined FAULTS || defined FAULTS64
	x += after(x);
#endif
	printf("%ld %ld %d\n", x, work(argc), parse(*argv));
	show();
	return 0;
}
