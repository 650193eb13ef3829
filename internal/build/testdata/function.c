#include "common.h"
KEEP int check(const char *s, int n) {
#ifdef FIXED
	if (n > 16)
		return note("too long");
#endif
	return parse(s) + n;
}
int main(int argc, char **argv) {
	printf("%d\n", check(argv[0], argc));
	show();
	return 0;
}
