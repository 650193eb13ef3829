#include "common.h"
#ifdef FIXED
static int limit = 100;
#else
static int limit = 1000;
#endif
KEEP int allowed(int n) { return n < limit; }
KEEP void set_limit(int n) { limit = n; }
int main(int argc, char **argv) {
	(void)argv;
	set_limit(allowed(argc));
	show();
	return 0;
}
