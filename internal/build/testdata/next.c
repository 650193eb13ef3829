#define _GNU_SOURCE
#include <dlfcn.h>
#include "common.h"
/* The loader answers RTLD_NEXT by where the code lies that asks. DEFAULT: it
   is asked for any definition, which is the same from everywhere. */
#ifdef DEFAULT
#define WHERE RTLD_DEFAULT
#else
#define WHERE RTLD_NEXT
#endif
KEEP int say(int n) {
	static int (*real)(const char *);
#ifdef FIXED
	if (n > 1000)
		return -1;
#endif
	if (!real)
		real = (int (*)(const char *))dlsym(WHERE, "puts");
	return real("said") + n;
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%d\n", say(argc));
	show();
	return 0;
}
