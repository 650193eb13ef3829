// A function whose first five bytes lie on two pages.
#include "victim.h"

#ifdef FIXED
#define VALUE "1000"
#else
#define VALUE "1"
#endif
int fixed_function(void);
__asm__(".text\n.balign 4096\n.fill 4093, 1, 0x90\n"
	".globl fixed_function\n.type fixed_function, @function\n"
	"fixed_function:\n\t.cfi_startproc\n\t"
	"mov $" VALUE ", %eax\n\tnop\n\tret\n\t"
	".cfi_endproc\n.size fixed_function, . - fixed_function\n");

int main(void) {
	answer("ready %d", getpid());
	const char *q;
	while ((q = next())) if (*q == 'q') answer("%d", fixed_function());
}
