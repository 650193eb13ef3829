#include "common.h"
/* A table of distances that assembler code reads: of 64 bits from the table, with
   -DFROM from a function and of 32. */
#ifdef FROM
#define ENTRY(f) " .long " f " - h1\n"
#define READ " movslq (%rcx,%rdi,4),%rax\n lea h1(%rip),%rdx\n"
#else
#define ENTRY(f) " .quad " f " - table\n"
#define READ " mov (%rcx,%rdi,8),%rax\n lea table(%rip),%rdx\n"
#endif
__asm__(".section .rodata\n.p2align 4\n.globl table\n.type table,@object\n"
	"table:\n" ENTRY("h1") ENTRY("h2") ENTRY("h3") ".size table,.-table\n"
	".text\n.globl lead\n.type lead,@function\nlead: .cfi_startproc\n"
	" lea table(%rip),%rcx\n" READ " lea (%rax,%rdx),%rax\n mov %esi,%edi\n jmp *%rax\n"
	".cfi_endproc\n.size lead,.-lead\n");
int lead(long, int);
KEEP int h1(int n) { return n + 1; }
KEEP int middle(int n)
{
#ifdef FIXED
	if (n > 90 || n < -90 || n == 45)
		return printf("x%d", n);
#endif
	return n * n + n / 3;
}
KEEP int h2(int n) { return n + 2; }
KEEP int h3(int n) { return n + 3; }

int main(int argc, char **argv)
{
	printf("%d\n", lead(argc & 1, argc) + middle(argc) + parse(*argv));
	show();
	return 0;
}
