// A constant in the code, between functions, of which all bytes could be filler.
#include <stdlib.h>

#ifdef FIXED
#define LIMIT "0x90909000"
#else
#define LIMIT "0x90909090"
#endif
__asm__(".text\n.p2align 4\n.globl limit\n.type limit,@function\nlimit:\n.cfi_startproc\n"
	"mov 1f(%rip),%eax\nret\n.cfi_endproc\n.size limit,.-limit\n1: .long " LIMIT "\n.p2align 4");
extern unsigned limit(void);

int main(int argc, char **argv) { return argc > 1 && strtoul(argv[1], NULL, 0) < limit(); }
