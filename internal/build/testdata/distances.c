/* Tables of 32-bit distances from their own start, as clang and rustc make them
   for a switch that returns strings, and people for functions. */
#include <stdio.h>
#define KEEP __attribute__((noinline, noclone, used))

#ifdef FIXED
#define TEXT "gamma fix"
#define MORE 1
KEEP int added(int n) { return n * 7 + 3; }
#define SIX "added"
#else
#define TEXT "gamma ray"
#define MORE 0
#define SIX "six"
#endif
KEEP int one(int n) { return n + 1; }
KEEP int two(int n) { return n + 2 + MORE; }
KEEP int six(int n) { return n + 6; }
__asm__(".section .rodata\n"
	"s0: .asciz \"alpha\"\ns1: .asciz \"be\"\ns2: .asciz \"" TEXT "\"\n.balign 4\n"
	".type names,@object\nnames: .long s0-names, s1-names, s2-names\n.size names, 12\n"
	".type calls,@object\ncalls: .long one-calls, two-calls, " SIX "-calls\n.size calls, 12\n"
	".type other,@object\nother: .long one-other, two-other, " SIX "-other\n.size other, 12\n"
	".long 7, 8, 9, 10, 11, 12, 13\n.text");
extern const int names[3] __attribute__((visibility("hidden")));
extern const int calls[3] __attribute__((visibility("hidden")));
KEEP const char *name(unsigned long i) { return (const char *)names + names[i]; }
KEEP int call(unsigned long i) { return ((int (*)(int))((const char *)calls + calls[i]))(5); }
#ifdef PASSED
extern const int other[3] __attribute__((visibility("hidden")));
KEEP int look(const int *t, unsigned long i)
{
	__asm__ volatile("" : "+r"(t));
	return ((int (*)(int))((const char *)t + t[i]))(5);
}
KEEP int pass(unsigned long i) { return look(other, i); }
#else
#define pass(i) 0
#endif
int main(int n, char **v) { puts(name(n)); return call(n) + pass(n); }
