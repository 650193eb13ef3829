#include "common.h"
#ifdef FIXED
#define FORMAT "%15s"
#else
#define FORMAT "%16s"
#endif
KEEP int scan(const char *s, char *out) { return sscanf(s, FORMAT, out); }
int main(int argc, char **argv) {
	do {
		char word[16];
		scan(argv[argc - 1], word);
		show();
	} while (puts("") < 0);
	return 0;
}
