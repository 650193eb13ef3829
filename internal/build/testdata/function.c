#include "common.h"
KEEP int check(const char *s, int n) {
#ifdef FIXED
	if (n > 16)
		return note("too long");
#endif
	return parse(s) + n;
}
int main(int argc, char **argv) {
	do {
		printf("%d\n", check(argv[0], argc));
		show();
	} while (puts("") < 0);
	return 0;
}
