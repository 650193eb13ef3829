// A library whose fix takes memory by a function that it did not use before, and
// gives it back by one that it did.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char much[5000];

__attribute__((noinline)) static char *text(const char *of) {
#ifdef FIXED
	memset(much + strlen(of), ' ', sizeof much - 1 - strlen(of));
	memcpy(much, of, strlen(of));
	return strndup(much, sizeof much);
#else
	return strdup(of);
#endif
}

const char *lib_ask(const char *q, char *out, int size) {
	char *t = text(q);
	snprintf(out, (size_t)size, "%.3s", t);
	free(t);
	return out;
}
