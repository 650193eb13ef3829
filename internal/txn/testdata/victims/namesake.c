// Two programs of the same build-id (with -DFAKE the other): the function before
// the one that is fixed is short in one of them, with padding behind it, and long
// in the other.
#include "victim.h"

#ifdef FIXED
#define ADDED "1000"
#else
#define ADDED "1"
#endif
#ifdef FAKE
#define BEFORE "ret\n\t.cfi_endproc\n.size before, .-before\n\t.skip 32, 0x90\n"
#else
#define BEFORE "movl $1, %eax\n\tmovl $2, %eax\n\tmovl $3, %eax\n\tmovl $4, %eax\n\tmovl $5, %eax\n\tmovl $6, %eax\n\taddl %edi, %eax\n\tret\n\t.cfi_endproc\n.size before, .-before\n"
#endif

int fixed_function(int n), before(int n);
__asm__(".text\n.p2align 6\n.globl before\n.type before, @function\nbefore:\n\t.cfi_startproc\n\t" BEFORE
	".globl fixed_function\n.type fixed_function, @function\nfixed_function:\n\t.cfi_startproc\n\txorl %eax, %eax\n\taddl $" ADDED ", %eax\n\taddl %edi, %eax\n\tret\n\t.cfi_endproc\n.size fixed_function, .-fixed_function\n"
	".type behind, @function\nbehind:\n\t.cfi_startproc\n\t.rept 40\n\tmovl $4, %eax\n\t.endr\n\tret\n\t.cfi_endproc\n.size behind, .-behind\n");

int main(void) {
	answer("ready %d", getpid());
	for (const char *q; (q = next()); ) {
		if (*q == 'b') answer("%d", before(1));
		else answer("%d", fixed_function(1));
	}
}
