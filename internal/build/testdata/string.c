#include "common.h"
#ifdef FIXED
#define GREETING "hello, fixed world"
#else
#define GREETING "hello, old world"
#endif
KEEP int greet(void) { return note(GREETING); }
int main(void) {
	do {
		greet();
		show();
	} while (puts("") < 0);
	return 0;
}
