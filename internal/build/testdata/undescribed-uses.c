// Code that neither unwind data nor typed symbols describe: -DFIXED lets it use
// another variable (-DVARIABLE), constant (-DCONSTANT) or function of a library
// (-DIMPORT) while all stays where it was.
#include <stdio.h>
#include <stdlib.h>

#ifdef FIXED
#define PICK(base, fixed) fixed
#else
#define PICK(base, fixed) base
#endif

#if defined VARIABLE
int first = 1, second = 2;
asm(".text\n.globl pick\npick:\nmov " PICK("first", "second") "(%rip),%eax\nret\n.p2align 4");
__attribute__((noinline)) int both(void) { return first * 3 + second; }
#elif defined CONSTANT
static const double factor = PICK(1.5, 2.5);
__attribute__((used)) static const double *const keep = &factor;
asm(".text\n.globl pick\npick:\nmovsd factor(%rip),%xmm0\ncvttsd2si %xmm0,%eax\nret\n.p2align 4");
__attribute__((noinline)) int both(void) { return 3; }
#else
asm(".text\n.globl pick\npick:\nmov $-7,%edi\njmp " PICK("abs", "toupper") "@PLT\n.p2align 4");
__attribute__((noinline)) int both(void) { return 3; }
#endif
int pick(void);

__attribute__((noinline)) int other(int n)
{
	for (int i = 0; i < n; i++)
		n ^= i * PICK(33, 77);
	return n;
}

int main(void)
{
	for (int c; (c = getchar()) != EOF;)
		printf("%d %d %d\n", pick(), both(), other(c));
	return 0;
}
