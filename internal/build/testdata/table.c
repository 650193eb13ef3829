#include "common.h"
static const int weight[64] = {
	3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5,
#ifdef FIXED
	8,
#else
	80,
#endif
	9, 7, 9,
};
static const int other[64] = {2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5};
KEEP int weigh(int i) { return weight[i & 63]; }
KEEP int measure(int i) { return other[i & 63]; }
int main(int argc, char **argv) {
	(void)argv;
	do {
		printf("%d %d\n", weigh(argc + (int)total), measure(argc));
		show();
	} while (puts("") < 0);
	return 0;
}
