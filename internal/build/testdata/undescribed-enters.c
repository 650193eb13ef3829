// Code that neither unwind data nor a typed symbol describes goes on in the middle
// of check, which -DFIXED mends: behind its first instruction, or with -DLATE
// where check begins for assembler code.
#include <stdio.h>

#ifdef FIXED
#define STEP "3"
#else
#define STEP "2"
#endif
#ifdef LATE
#define FIRST "mov %edi,%eax\nadd $7,%eax\n"
#else
#define FIRST "xor %eax,%eax\n"
#endif

asm(".text\n.globl check\n.type check,@function\ncheck:\n.cfi_startproc\n" FIRST "inner:\nadd $" STEP ",%eax\nadd $1000,%eax\nret\n"
	".cfi_endproc\n.size check,.-check\n.p2align 4\n.globl behind\nbehind:\nmov $5,%eax\njmp inner\n.p2align 4");
int check(int), behind(void);

int main(void)
{
	for (int c; (c = getchar()) != EOF;)
		printf("%d %d\n", check(c), behind());
	return 0;
}
