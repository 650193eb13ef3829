// A program that asks librecompiled.so. Other libraries are for all to use.
#include "victim.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
	for (int i = 2; i < argc; i++)
		if (!dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL)) return 1;
	void *lib = dlopen(argv[1], RTLD_NOW);
	if (argc < 2 || !lib)
		return 1;
	const char *(*ask)(char, int, char *, int) = dlsym(lib, "lib_ask");
	answer("ready %d", getpid());
	char out[512];
	const char *q;
	while ((q = next()))
		answer("%s", ask(*q, atoi(q + 1), out, sizeof out));
}
