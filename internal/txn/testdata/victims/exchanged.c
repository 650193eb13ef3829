// A function whose entry has one of several shapes (-DENTRY_...), between
// others with or without padding (-DPAD_...), and threads that are in it all the
// time: each answer must be the old or the new one, and never old again after
// new.
#include "victim.h"
#include <sys/mman.h>
#include <sys/wait.h>

#ifdef FIXED
#define ADDED "1000"
#else
#define ADDED "1"
#endif

#if defined(ENDBR)
#define LAND "endbr64\n\t"
#else
#define LAND
#endif

#if defined(ENTRY_SHORT)
#define ENTRY "xorl %eax, %eax\n\taddl $" ADDED ", %eax\n\t"
#elif defined(ENTRY_ALT) /* another function begins behind the push */
#define ENTRY "pushq %rbx\n.globl alt_entry\n.type alt_entry, @function\nalt_entry:\n\txorl %ebx, %ebx\n\tmovl $" ADDED ", %eax\n\t"
#define END "popq %rbx\n\t"
#elif defined(ENTRY_PUSH)
#define ENTRY "pushq %rbx\n\txorl %ebx, %ebx\n\tmovl $" ADDED ", %eax\n\t"
#define END "popq %rbx\n\t"
#elif defined(ENTRY_PUSH3)
#define ENTRY "pushq %rbx\n\tpushq %rbp\n\tpushq %rcx\n\txorl %ebx, %ebx\n\txorl %ebp, %ebp\n\tmovl $" ADDED ", %eax\n\t"
#define END "popq %rcx\n\tpopq %rbp\n\tpopq %rbx\n\t"
#elif defined(ENTRY_BYTE)
#define ENTRY "nop\n\tmovl $" ADDED ", %eax\n\t"
#else
#define ENTRY "movl $" ADDED ", %eax\n\t"
#endif

#ifndef END
#define END
#endif

#if defined(PAD_INT3)
#define PAD ".p2align 5, 0xcc\n"
#elif defined(PAD_ZERO)
#define PAD ".p2align 5, 0\n"
#elif defined(PAD_NONE)
#define PAD
#else
#define PAD ".p2align 5\n"
#endif

#if defined(PAD_ENTERED) // what is before the padding runs into it
#define END_BEFORE "nop\n\t"
#elif defined(PAD_NORETURN)
#define END_BEFORE "call abort@PLT\n\t"
#elif defined(PAD_CALL) // which returns into the padding, as far as anybody knows
#define END_BEFORE "call getpid@PLT\n\t"
#elif defined(PAD_BRANCH) // what is before jumps into it
#define END_BEFORE "jmp .+4\n\t"
#else
#define END_BEFORE "ret\n\t"
#endif

#if defined(AT_PAGE_END)
#define START ".p2align 12\n.skip 4088 - 32, 0xcc\n"
#undef PAD
#define PAD ".skip 16, 0xcc\n"
#else
#define START ".p2align 5\n"
#endif

int fixed_function(int n);
__asm__(".text\n" START
	".type before, @function\nbefore:\n\t.cfi_startproc\n\t"
	"movl $1, %eax\n\tmovl $2, %eax\n\tmovl $3, %eax\n\t" END_BEFORE ".cfi_endproc\n.size before, . - before\n"
	PAD
	".globl fixed_function\n.type fixed_function, @function\n"
	"fixed_function:\n\t.cfi_startproc\n\t" LAND ENTRY
	"addl %edi, %eax\n\tmovl $2000, %ecx\n"
	"1:\tdecl %ecx\n\tjnz 1b\n\t" END "ret\n\t"
	".cfi_endproc\n.size fixed_function, . - fixed_function\n"
	".type behind, @function\nbehind:\n\t.cfi_startproc\n\t.rept 40\n\tmovl $4, %eax\n\t.endr\n\tret\n\t" // so that no other padding is in reach
	".cfi_endproc\n.size behind, . - behind\n");

enum { MOST = 16 };
static atomic_int run, wrong, back, new, children, forked;
static _Atomic int64_t gap;
static pthread_t threads[MOST], forker;
static int started;

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int look(int n, int *seen) {
	int r = fixed_function(n);
	if (r == n + 1000) { *seen = 1; return 0; }
	if (r != n + 1) return 1;
	return *seen ? 2 : 0;
}
static void *busy(void *a) {
	int seen = 0;
	int64_t last = now();
	(void)a;
	for (int n = 0; run; n = (n + 1) & 0xffff) {
		switch (look(n, &seen)) {
		case 1: wrong++; break;
		case 2: back++; break;
		}
		int64_t t = now();
		if (t - last > gap) gap = t - last;
		last = t;
	}
	if (seen) new++;
	return NULL;
}
static void *fork_on(void *a) {
	(void)a;
	while (run) {
		pid_t pid = fork();
		if (pid == 0) {
			int seen = 0, bad = 0;
			for (int n = 0; n < 50; n++) bad |= look(n, &seen);
			_exit(bad);
		}
		int status = -1;
		if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0)) children++;
		forked++;
	}
	return NULL;
}

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'F': { // a child that stays
			pid_t pid = fork();
			if (pid == 0) for (;;) pause();
			answer("%d", pid);
			break;
		}
		case 'S': answer("%ld", syscall(462 /* mseal */, (uintptr_t)fixed_function & ~4095ul, 4096, 0)); break;
		case 'm': answer("%d", mlockall(MCL_CURRENT)); break;
		case 'b':
			run = 1; wrong = back = new = 0; gap = 0;
			started = atoi(q + 1);
			for (int i = 0; i < started; i++) pthread_create(&threads[i], NULL, busy, NULL);
			answer("busy");
			break;
		case 'f': run = 1; children = forked = 0; pthread_create(&forker, NULL, fork_on, NULL); answer("forking"); break;
		case 'e': run = 0; pthread_join(forker, NULL); answer("bad=%d some=%d", children, forked > 0); break;
		case 's':
			run = 0;
			for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
			answer("wrong=%d back=%d new=%d slow=%d", wrong, back, new, gap > 10000000000);
			break;
		}
}
