#include "common.h"
static int mode;
__attribute__((constructor)) static KEEP void prepare(void) {
#ifdef FIXED
	mode = 2;
#else
	mode = 1;
#endif
}
KEEP int which(void) { return mode; }
int main(void) {
	printf("%d\n", which());
	show();
	return 0;
}
