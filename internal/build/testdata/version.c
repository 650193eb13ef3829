#include "common.h"
#ifdef FIXED
#define VERSION "2.6.12-1+deb12u4"
#else
#define VERSION "2.6.12-1+deb12u3"
#endif
int main(void) {
	note("demo version " VERSION ", built " VERSION);
	show();
	return 0;
}
