// Executes single instructions and tells which general registers changed.
//
//   stdin   lines of "HEX RCX": the bytes of an instruction, and what rcx holds (0: an address)
//   stdout  a line for each: the changed registers as bits, in hex; "-": it faulted
//
// All registers hold addresses of one large mapping, so most operands in memory
// can be used. Each runs twice, with other values: what changes by chance to
// what was there shows the second time.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static const int order[16] = { // the numbers of the processor, as the kernel calls them
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};
static unsigned char *const page = (void *)0x300000000000; // far from all else
static ucontext_t home;
static struct _libc_fpstate clean;
static long long set[16], rcx;
static int state, round_, faulted; // state 0: keep where we came from; 1: it ran
static unsigned changed;

static void prepare(ucontext_t *c)
{
	for (int i = 0; i < 16; i++)
		set[i] = (round_ ? 0x2a000000 : 0x18000000) + i * 0x110000 + (0x35 + i) * 0x100 + (round_ ? 0x80 : 0x40);
	if (rcx)
		set[1] = rcx + round_;
	for (int i = 0; i < 16; i++)
		c->uc_mcontext.gregs[order[i]] = set[i];
	c->uc_mcontext.gregs[REG_RIP] = (long long)page;
	c->uc_mcontext.gregs[REG_EFL] = 0x202;
}

static void handle(int sig, siginfo_t *info, void *p)
{
	ucontext_t *c = p;
	if (state == 0) {
		memcpy(home.uc_mcontext.gregs, c->uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
		clean = *c->uc_mcontext.fpregs;
		faulted = round_ = changed = 0;
		state = 1;
		prepare(c);
		return;
	}
	*c->uc_mcontext.fpregs = clean;
	if (sig != SIGTRAP)
		faulted = 1;
	else
		for (int i = 0; i < 16; i++)
			if (c->uc_mcontext.gregs[order[i]] != set[i])
				changed |= 1u << i;
	if (!faulted && round_++ == 0) {
		prepare(c);
		return;
	}
	state = 0;
	memcpy(c->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
}

int main(void)
{
	const size_t most = 0x200000000;
	static char stack[1 << 16];
	if (mmap((void *)0x10000000, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ||
	    mmap(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
	struct sigaction act = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
	for (int i = 0; i < 5; i++)
		sigaction(signals[i], &act, NULL);
	char hex[64];
	while (scanf("%63s %lld", hex, &rcx) == 2) {
		memset(page, 0xcc, 64);
		for (int i = 0; hex[2 * i]; i++) {
			unsigned b;
			sscanf(hex + 2 * i, "%2x", &b);
			page[i] = b;
		}
		__asm__ volatile("int3" ::: "memory");
		if (faulted)
			puts("-");
		else
			printf("%x\n", changed);
	}
	return 0;
}
