// -DFIXED moves main and report down by 20 lines, and with -DLIMIT it is no line
// that they hand over. -DNAMED: they hand over the name of a source file, too.
#include "common.h"
#include <string.h>

#ifdef NAMED
KEEP void complain(const char *file, int line) { printf("%s: %d\n", file, line); }
#define COMPLAIN(n) complain("grammar.y", n)
#else
KEEP void complain(int line) { printf("%d\n", line); }
#define COMPLAIN(n) complain(n)
#endif

#ifdef LIMIT
#ifdef FIXED
#define LINE 100
#else
#define LINE 120
#endif
#else
#define LINE __LINE__
#ifdef FIXED
#line 45
#endif
#endif
KEEP void report(int n)
{
	if (n > 7)
		COMPLAIN(LINE);
}
int main(int argc, char **argv)
{
	(void)argv;
	report(argc);
	if (argc > 9)
		COMPLAIN(LINE);
	show();
	return 0;
}
