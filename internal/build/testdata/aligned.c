#include "common.h"
#include <sys/mman.h>
/* -DPAGE: the fix brings a page of its own. -DNOTE: a note that the code reads
   changes. */
#ifdef PAGE
#ifdef FIXED
static char page[4096] __attribute__((aligned(PAGE)));
#endif
KEEP int work(int n)
{
#ifdef FIXED
	page[0] = n;
	if (mprotect(page, sizeof page, PROT_READ | PROT_WRITE))
		return -1;
#endif
	return n * n + n / 3;
}
#else
#ifdef FIXED
#define LIMIT 8
#else
#define LIMIT 7
#endif
__attribute__((section(".note.limits"), used)) static const int limits[2] = {1, LIMIT};
KEEP int work(int n)
{
	int k = 1;
	__asm__("" : "+r"(k));
	return limits[k] + n;
}
#endif
int main(int argc, char **argv)
{
	for (; argc > 0; argc--)
		printf("%d\n", work(argc) + parse(*argv));
	show();
	return 0;
}
