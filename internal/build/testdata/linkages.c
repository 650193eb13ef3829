#include <stdio.h>
#include <string.h>

#ifdef FIXED
#define BY 3
#else
#define BY 2
#endif

int seen;
const char *names[] = {"one", "two", "three", "four", "five"};

__attribute__((noinline, noipa)) int pick(const char *s) {
	seen++;
	switch (s[0]) {
	case 'a': return (int)strlen(s) + BY;
	case 'b': return 3;
	case 'c': return 5 * BY;
	case 'd': return 9;
	case 'e': return seen;
	case 'f': return puts(names[seen % 5]);
	}
	return -1;
}

int main(void) {
	char b[100];
	while (fgets(b, sizeof b, stdin)) {
		printf("%d\n", pick(b));
		fflush(stdout);
	}
	return 0;
}
