// A library in which check is another name of first in one version and a function
// of its own in the other: in the fixed one with -DPARTS. -DTWIN: an equal one.
// -DFIRST=NAME: first is called otherwise. -DMENDED: it is mended, too.
#include <string.h>

#define KEEP __attribute__((noinline, noclone, used))

#ifndef FIRST
#define FIRST first
#endif
#define QUOTE(x) #x
#define TEXT(x) QUOTE(x)

#ifdef FIXED
#define OWN defined PARTS
#define FACTOR 77
#else
#define OWN !defined PARTS
#define FACTOR 33
#endif

KEEP int FIRST(const char *s)
{
	int n = 0;
#if defined FIXED && defined MENDED
	if (!s)
		return -1;
#endif
	while (*s)
		n = n * 31 + *s++;
	return n;
}

#if OWN && defined TWIN
KEEP int check(const char *s)
{
	int n = 0;
	while (*s)
		n = n * 31 + *s++;
	return n;
}
#elif OWN
KEEP int check(const char *s)
{
	int n = 0;
	if (strlen(s) > 10)
		return -1;
	while (*s)
		n = n * 37 + *s++;
	return n;
}
#else
int check(const char *s) __attribute__((alias(TEXT(FIRST))));
#endif

KEEP int other(int n)
{
	for (int i = 0; i < n; i++)
		n ^= i * FACTOR;
	return n;
}
