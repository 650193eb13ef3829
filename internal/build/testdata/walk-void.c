#include "common.h"
/* A function that ends with the end of a table in rax, where another table
   begins that stays. Whether it returns that, its callers tell: RETURNED. */
struct word { const char *text; long value; };
#ifdef FIXED
#define HEAVY 5
#else
#define HEAVY 4
#endif
static const struct word words[4] __attribute__((used)) = { {"one", 1}, {"two", 2}, {"three", 3}, {"four", HEAVY} };
static const struct word units[4] = { {"kilo", 1000}, {"mega", 1000000}, {"giga", 1000000000}, {"more", 0} };
KEEP long unit(int n) { return units[n & 3].value + strlen(units[n & 3].text); }
#ifdef RETURNED
const void *say(void);
#else
void say(void);
#endif
__asm__(
	".text\n"
	".p2align 4\n"
	".type say, @function\n"
	"say:\n"
	"\t.cfi_startproc\n"
	"\tpushq %rbx\n"
	"\t.cfi_def_cfa_offset 16\n"
	"\t.cfi_offset 3, -16\n"
	"\tleaq words(%rip), %rbx\n"
	"1:\tmovq (%rbx), %rdi\n"
	"\taddq $16, %rbx\n"
	"\tcall puts@plt\n"
	"\tleaq words+64(%rip), %rax\n"
	"\tcmpq %rax, %rbx\n"
	"\tjne 1b\n"
	"\tpopq %rbx\n"
	"\t.cfi_def_cfa_offset 8\n"
	"\tret\n"
	"\t.cfi_endproc\n"
	".size say, .-say\n");
KEEP long twice(int n) {
#ifdef RETURNED
	return say() != say() || n;
#else
	say();
	if (n > 3)
		say();
	return n + 2;
#endif
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%ld %ld\n", twice(argc), unit(argc));
	show();
	return 0;
}
