/* A part of check jumps to where check ends: the compiler's way of saying that
   control never gets there. Code at another place that nothing describes is
   something else. */
#include <stdio.h>
#include <stdlib.h>

#ifdef FIXED
#define LIMIT "100"
#else
#define LIMIT "1000"
#endif

int check(int n);

__asm__(
	".text\n"
	".p2align 4\n"
	".globl check\n"
	".type check, @function\n"
	"check:\n"
	"\t.cfi_startproc\n"
	"\tcmpl $" LIMIT ", %edi\n"
	"\tjg check.cold\n"
	"\tleal 1(%rdi), %eax\n"
	"\tret\n"
	"\tsubq $8, %rsp\n"
	"\t.cfi_adjust_cfa_offset 8\n"
	"\tcall abort@plt\n"
	".Lend:\n"
	"\t.cfi_endproc\n"
	".size check, .-check\n"
	"\tnopw 0(%rax,%rax)\n"
	"\tnopw 0(%rax,%rax)\n"
	".section .text.unlikely, \"ax\"\n"
	".type check.cold, @function\n"
	"check.cold:\n"
	"\t.cfi_startproc\n"
	"\tmovl $-1, %eax\n"
	"\tcmpl $" LIMIT ", %edi\n"
#ifdef ELSEWHERE
	"\tjl .Lend+3\n"
#else
	"\tjl .Lend\n"
#endif
	"\tret\n"
	"\t.cfi_endproc\n"
	".size check.cold, .-check.cold\n"
	".text\n");

int main(int argc, char **argv)
{
	(void)argv;
	printf("%d\n", check(argc * 500));
	return 0;
}
