// One thread stays in the old function: it sleeps for a moment in a leaf, wakes,
// and calls on with arguments on the stack, so that its return address is written
// to another place than where it was. Who reads the stack meanwhile sees none.
#include "victim.h"
typedef int fn0(void *); typedef int fn8(long, long, long, long, long, long, long, long);
static volatile int over; static atomic_long rounds;
// a leaf that sleeps: the return address is right at its stack pointer
__attribute__((naked, noipa)) static int leaf(void *ts) {
	__asm__ volatile("xor %esi,%esi\n\tmov $35,%eax\n\tsyscall\n\tret");
}
NOINLINE static int work(long a, long b, long c, long d, long e, long f, long g, long h) {
	struct timespec x, y; rounds++;
	clock_gettime(CLOCK_MONOTONIC, &x);
	do clock_gettime(CLOCK_MONOTONIC, &y); while ((y.tv_sec - x.tv_sec) * 1000000000L + y.tv_nsec - x.tv_nsec < 30000);
	return a + b + c + d + e + f + g + h;
}

#ifdef FIXED
#define ADD "1000"
#else
#define ADD "1"
#endif
__attribute__((naked, noipa)) int fixed_function(int n, fn0 *s, fn8 *w, void *ts, volatile int *end) {
	__asm__ volatile(".byte 0x66, 0x0f, 0x1f, 0x44, 0, 0\n\t"
	"test %edi,%edi\n\tjnz 2f\n\tpush %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tsub $8,%rsp\n\t"
	"mov %rsi,%rbx\n\tmov %rdx,%rbp\n\tmov %rcx,%r12\n\tmov %r8,%r13\n"
	"1:\tmov %r12,%rdi\n\tcall *%rbx\n\t"
	"push $8\n\tpush $7\n\tmov $1,%edi\n\tmov $2,%esi\n\tmov $3,%edx\n\tmov $4,%ecx\n\tmov $5,%r8d\n\tmov $6,%r9d\n\tcall *%rbp\n\tadd $16,%rsp\n\t"
	"cmpl $0,(%r13)\n\tje 1b\n\tadd $8,%rsp\n\tpop %r13\n\tpop %r12\n\tpop %rbp\n\tpop %rbx\n\txor %eax,%eax\n\tret\n"
	"2:\tlea " ADD "(%rdi),%eax\n\tret");
}
static void *loop(void *a) {
	struct timespec ts = {0, 60000}; (void)a;
	fixed_function(0, leaf, work, &ts, &over);
	return 0;
}
int main(void) {
	pthread_t t; const char *q;
	pthread_create(&t, NULL, loop, NULL);
	while (!rounds) usleep(1000); // it is in the old function
	answer("ready %d", getpid());
	while ((q = next())) switch (*q) {
		case 'q': answer("%d", fixed_function(1, 0, 0, 0, 0)); break;
		case 'r': { long r = rounds; usleep(100000); answer("%s", rounds > r ? "loops" : "ended"); break; }
	}
}
