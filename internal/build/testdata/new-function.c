#include "common.h"
#ifdef FIXED
static KEEP int valid(const char *s) { return strlen(s) < 16 && parse(s) >= 0; }
#endif
KEEP int check(const char *s) {
#ifdef FIXED
	if (!valid(s))
		return -1;
#endif
	return parse(s) * 2;
}
int main(int argc, char **argv) {
	do {
		printf("%d\n", check(argv[argc - 1]));
		show();
	} while (puts("") < 0);
	return 0;
}
