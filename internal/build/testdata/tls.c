#include "common.h"
static __thread int mine;
#ifdef FIXED
static __thread long limit = 9;
#endif
KEEP int tick(int n) {
	mine += n;
#ifdef FIXED
	if (mine > limit)
		limit++;
#endif
	return mine;
}
int main(int argc, char **argv) {
	(void)argv;
	do {
		printf("%d\n", tick(argc));
		show();
	} while (puts("") < 0);
	return 0;
}
