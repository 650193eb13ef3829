// A leaf that keeps values in the 128 bytes below its stack pointer, running
// and in a system call, which borrows no stack either.
#include "victim.h"

NOINLINE int fixed_function(int n) { ROOM; return OLD_NEW(n + 1, n + 1000); }

static atomic_long rounds, corrupt;
// red_zone fills the red zone, runs on (or makes system call 35, nanosleep),
// and counts the words that are not as they were.
uint64_t red_zone(uint64_t pattern, const struct timespec *sleep);
__asm__(".text\n.type red_zone, @function\nred_zone:\n\t.cfi_startproc\n\t"
	"mov $-128, %rcx\n"
	"1:\tlea (%rdi,%rcx), %rax\n\tmov %rax, (%rsp,%rcx)\n\tadd $8, %rcx\n\tjnz 1b\n\t"
	"mov %rdi, %r8\n\ttest %rsi, %rsi\n\tjnz 2f\n\t"
	"mov $100000, %ecx\n"
	"3:\tdec %ecx\n\tjnz 3b\n\tjmp 4f\n"
	"2:\tmov %rsi, %rdi\n\txor %esi, %esi\n\tmov $35, %eax\n\tsyscall\n"
	"4:\txor %eax, %eax\n\tmov $-128, %rcx\n"
	"5:\tlea (%r8,%rcx), %rdx\n\tcmp %rdx, (%rsp,%rcx)\n\tje 6f\n\tinc %rax\n"
	"6:\tadd $8, %rcx\n\tjnz 5b\n\tret\n\t.cfi_endproc\n.size red_zone, . - red_zone\n");

static void *runs(void *a) { (void)a; for (uint64_t p = 1;; p += 0x0101010101010101) { corrupt += red_zone(p, NULL); rounds++; } }
static void *questions(void *a) {
	const char *q; (void)a;
	answer("ready %d", getpid());
	while ((q = next()))
		switch (*q) {
		case 'q': answer("%d", fixed_function(1)); break;
		case 'c': answer("corrupt=%ld", corrupt); break;
		case 'a': answer("%d", rounds > 20); break;
		}
	exit(0);
}
// main is the thread that is borrowed first: it sleeps most of the time.
int main(void) {
	pthread_t t;
	struct timespec d = {0, 3000000};
	pthread_create(&t, NULL, questions, NULL);
	pthread_create(&t, NULL, runs, NULL);
	for (uint64_t p = 1;; p += 0x0101010101010101) { corrupt += red_zone(p, &d); rounds++; }
}
