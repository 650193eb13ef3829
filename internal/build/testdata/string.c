#include "common.h"
#ifdef FIXED
#define GREETING "hello, fixed world"
#else
#define GREETING "hello, old world"
#endif
KEEP int greet(void) { return note(GREETING); }
int main(void) {
	greet();
	show();
	return 0;
}
