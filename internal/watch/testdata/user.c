// A program that uses libanswer: linked (-DLINKED), or loaded after a while.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int answer(int n);
int main(int argc, char **argv) {
	char c;
#ifdef LINKED
	if (answer(1) != 2) return 1;
#else
	if (read(0, &c, 1) != 1 || argc < 2 || !dlopen(argv[1], RTLD_NOW)) return 1;
#endif
	puts("ready");
	fflush(stdout);
	return read(0, &c, 1) == 1;
}
