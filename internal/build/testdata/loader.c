// A library whose fix changes where the loader finds a name.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#if defined WEAK // asked for since ever, and there from now on
extern int policy(const char *s) __attribute__((weak));
int handle(const char *s)
{
	if (policy && !policy(s))
		return -1;
	return puts(s);
}
#ifdef FIXED
int policy(const char *s) { return s[0] != '!'; }
#endif

#elif defined TABLE
int (*const table[])(const char *, const char *) = { strverscmp };
int handle(const char *s, int i)
{
#ifdef FIXED
	i &= 0;
#endif
	return table[i](s, "1.0");
}
#ifdef FIXED
int strverscmp(const char *a, const char *b) { return a[0] - b[0]; }
#endif

#elif defined ASKS
#ifdef FIXED
int check_v2(const char *s) { return s[0] == 'o'; }
#define NAME "check_v2"
#else
#define NAME "check_v1"
#endif
int check_v1(const char *s) { return s[0] == 'x'; }
int handle(const char *s)
{
	int (*f)(const char *) = dlsym(RTLD_DEFAULT, NAME);
	return f(s);
}

#else // called by name
#if defined IMPORT && defined FIXED || defined NO_MORE && !defined FIXED
int strverscmp(const char *a, const char *b) { return a[0] - b[0]; }
#endif
int handle(const char *s)
{
#ifdef FIXED
	if (!s)
		return 0;
#endif
	return strverscmp(s, "1.0");
}
#endif
