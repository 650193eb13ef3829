#include "common.h"
/* A branch back into the bytes that the jump would overwrite. OTHER: from
   another function, which is not replaced. */
__asm__(
	".text\n.p2align 4\n.globl spin\n.type spin,@function\nspin:\n.cfi_startproc\n"
	"nop\n1: dec %edi\njg 1b\n"
#ifdef FIXED
	"mov $1,%eax\n"
#else
	"mov $2,%eax\n"
#endif
	"ret\n.cfi_endproc\n.size spin,.-spin\n.p2align 4\n"
#ifdef OTHER
	".globl other\n.type other,@function\nother:\n.cfi_startproc\n"
	"add $1,%edi\njmp 1b\n.cfi_endproc\n.size other,.-other\n.p2align 4\n"
#endif
	);
int spin(int);
int main(int argc, char **argv) {
	(void)argv;
	do {
		printf("%d\n", spin(argc));
		show();
	} while (puts("") < 0);
	return 0;
}
