// What main does before it gets to work.
#include <stdio.h>
#include <sys/stat.h>

__attribute__((noinline, noipa)) static void open_socket(void) {
#ifdef FIXED
	umask(0077);
#else
	umask(0);
#endif
}

int main(void) {
	char b[100];
	open_socket();
	while (fgets(b, sizeof b, stdin)) puts(b);
	return 0;
}
