// What the linker is asked for.
#include <stdio.h>
#include <string.h>

__attribute__((noinline, noipa)) static int length(const char *b) {
#ifdef CHANGED
	if (!b[0]) return -1;
#endif
	return strlen(b);
}

int main(void) {
	char b[100];
	while (fgets(b, sizeof b, stdin)) printf("%d\n", length(b));
	return 0;
}
