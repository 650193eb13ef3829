#include "common.h"
#ifdef FIXED
static int limit = 100;
#else
static int limit = 1000;
#endif
KEEP int allowed(int n) {
#ifdef FIXED
	if (n < 0)
		return 0;
#endif
	return n < limit;
}
KEEP void set_limit(int n) { limit = n; }
int main(int argc, char **argv) {
	(void)argv;
	do {
		set_limit(allowed(argc));
		show();
	} while (puts("") < 0);
	return 0;
}
