#include "common.h"
/* Packed without alignment, so that nothing follows the one-byte function. */
__asm__(
	".text\n.globl hook\n.type hook,@function\nhook:\n.cfi_startproc\n"
#ifdef FIXED
	"xor %eax,%eax\n"
#endif
	"ret\n.cfi_endproc\n.size hook,.-hook\n"
	".globl behind\n.type behind,@function\nbehind:\n.cfi_startproc\nmov $1,%eax\nadd %eax,%eax\nret\n.cfi_endproc\n.size behind,.-behind\n");
int hook(void), behind(void);
int main(void) {
	do {
		printf("%d\n", hook() + behind());
		show();
	} while (puts("") < 0);
	return 0;
}
