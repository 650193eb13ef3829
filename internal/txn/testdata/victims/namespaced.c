// A program that loads a library (argv[1]) into a namespace of its own, with
// another libc.
#include "victim.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
	char out[64];
	const char *q, *(*ask)(const char *, char *, int);
	void *lib = argc > 1 ? dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW) : NULL;
	if (!lib) { answer("%s", dlerror()); return 1; }
	ask = (const char *(*)(const char *, char *, int))dlsym(lib, "lib_ask");
	answer("ready %d", getpid());
	while ((q = next())) answer("%s", ask(q, out, sizeof out));
}
