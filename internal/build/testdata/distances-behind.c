/* A table of 32-bit distances, and directly behind it a number. */
#include <stdio.h>
#define KEEP __attribute__((noinline, noclone, used))

#ifdef FIXED
#define TEXT "gamma fix"
#define MORE 1
#else
#define TEXT "gamma ray"
#define MORE 0
#endif
__asm__(".section .rodata\n.balign 64\n.asciz \"a string in front\"\n"
	"s0: .asciz \"alpha\"\ns1: .asciz \"be\"\ns2: .asciz \"" TEXT "\"\n.balign 16\n"
	".hidden names\n.globl names\nnames: .long s0-names, s1-names, s2-names\n"
	".hidden limit\n.globl limit\nlimit: .long pad+40-names\n"
	".hidden pad\n.globl pad\n.balign 32\npad: .zero 464, 1\n.text");
extern const int names[3] __attribute__((visibility("hidden")));
extern const int limit __attribute__((visibility("hidden")));
extern const int pad[116] __attribute__((visibility("hidden")));
KEEP const char *name(unsigned long i) { return (const char *)names + names[i]; }
#ifdef ACCESSED
KEEP int over(int n) { return n + limit + MORE; }
#else
KEEP int over(int n) { return n + MORE; }
#endif
KEEP int getpad(unsigned long i) { return pad[i]; }
int main(int n, char **v) { puts(name(n)); return over(n) + getpad(n); }
