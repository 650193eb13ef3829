#include "common.h"
int main(int argc, char **argv) {
#ifdef FIXED
	if (argc > 8)
		return note("too many");
#endif
	printf("%d\n", parse(argv[argc - 1]));
	show();
	return 0;
}
