#include "common.h"
KEEP void complain(int line) { printf("line %d\n", line); }
#ifdef FIXED
#line 20
#endif
KEEP int check(int n) {
	if (n > 7)
		complain(__LINE__);
	return n;
}
int main(int argc, char **argv) {
	(void)argv;
	do {
		check(argc);
		show();
	} while (puts("") < 0);
	return 0;
}
