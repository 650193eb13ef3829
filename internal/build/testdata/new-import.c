#include "common.h"
#include <strings.h>
KEEP int same(const char *a, const char *b) {
#ifdef FIXED
	return strcasecmp(a, b) == 0;
#else
	return strcmp(a, b) == 0;
#endif
}
int main(int argc, char **argv) {
	do {
		printf("%d\n", same(argv[0], argv[argc - 1]));
		show();
	} while (puts("") < 0);
	return 0;
}
