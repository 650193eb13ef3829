// A process whose stack is known. stack MODE; it prints the registers of a
// place on its stack ("regs", in DWARF order), what libgcc's unwinder says of
// it ("bt"), "ready", and then stands there until its standard input ends.
#define _GNU_SOURCE
#include <alloca.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static void print_regs(ucontext_t *uc)
{
	static const int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
	printf("regs");
	for (int i = 0; i < 17; i++)
		printf(" %llx", uc->uc_mcontext.gregs[order[i]]);
	printf("\n");
}

// here is the innermost frame.
NOINLINE void here(void)
{
	static void *bt[2000];
	ucontext_t uc;
	char c;
	int n = backtrace(bt, 2000);
	getcontext(&uc);
	print_regs(&uc);
	printf("bt");
	for (int i = 0; i < n; i++)
		printf(" %lx", (unsigned long)bt[i]);
	printf("\nready\n");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}

static volatile int sink;

// Keeps callee-saved registers busy across the call.
NOINLINE int busy(int n, int a, int b, int c, int d)
{
	int r, e = a * n, f = b ^ n;
	if (n == 0)
		here();
	else
		sink = busy(n - 1, b, c, d, a + 1);
	r = a + b + c + d + e + f + sink;
	return r;
}

NOINLINE int with_alloca(int n)
{
	volatile char *p = alloca(n * 16 + sink);
	p[0] = 1;
	return busy(3, 1, 2, 3, 4) + p[0];
}

// The stack is realigned, and its size is not known either: the frame address
// is kept in memory.
NOINLINE int realigned(int n, ...)
{
	volatile char v[64] __attribute__((aligned(128)));
	volatile char *p = alloca(n * 16 + sink);
	v[0] = p[0] = 2;
	return with_alloca(n) + v[0] + p[0];
}

static void handler(int sig)
{
	sink = busy(2, sig, 1, 1, 1);
}

NOINLINE int leaf_fault(int *p, int n)
{
	volatile int red_zone[8];
	red_zone[n & 7] = n;
	return *p + red_zone[(n + 1) & 7];
}

__attribute__((noreturn)) NOINLINE void never(int n)
{
	sink = busy(n, 1, 2, 3, 4);
	_exit(0);
}

NOINLINE void ends_in_a_call(int n)
{
	sink = n;
	never(n);
}

NOINLINE int after_it(int n)
{
	return sink + n;
}

static void *thread(void *p)
{
	sink = realigned((int)(long)p);
	return 0;
}

static int compare(const void *a, const void *b)
{
	sink = busy(1, *(int *)a, *(int *)b, 3, 4);
	return sink;
}

static void on_stack(int alternate)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = alternate ? SA_ONSTACK : 0};
	if (alternate) {
		stack_t ss = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
		sigaltstack(&ss, 0);
	}
	sigaction(SIGUSR1, &sa, 0);
	sigaction(SIGSEGV, &sa, 0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	pthread_t t;

	if (!strcmp(mode, "plain"))
		sink = busy(5, 1, 2, 3, 4);
	else if (!strcmp(mode, "deep"))
		sink = busy(500, 1, 2, 3, 4);
	else if (!strcmp(mode, "alloca"))
		sink = with_alloca(argc);
	else if (!strcmp(mode, "realigned"))
		sink = realigned(argc);
	else if (!strcmp(mode, "signal") || !strcmp(mode, "altstack")) {
		on_stack(mode[0] == 'a');
		raise(SIGUSR1);
	} else if (!strcmp(mode, "fault") || !strcmp(mode, "altfault")) {
		on_stack(mode[0] == 'a');
		sink = leaf_fault((int *)(long)sink, argc);
	} else if (!strcmp(mode, "noreturn"))
		ends_in_a_call(argc);
	else if (!strcmp(mode, "thread")) {
		pthread_create(&t, 0, thread, (void *)3L);
		pthread_join(t, 0);
	} else if (!strcmp(mode, "qsort")) {
		int a[] = {3, 1, 2};
		qsort(a, 3, sizeof a[0], compare);
	}
	return after_it(argc);
}
