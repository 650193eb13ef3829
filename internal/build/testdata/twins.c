#include "common.h"
static int red = 1, green = 2;
#ifdef FIXED
static int orange = 4;
#endif
static int blue = 3;
KEEP int get_red(void) { return red; }
KEEP int get_green(void) { return green; }
#ifdef FIXED
KEEP int get_orange(void) { return orange; }
#endif
KEEP int get_blue(void) { return blue; }
KEEP void paint(int r, int g, int b) {
	red = r;
	green = g;
	blue = b;
#ifdef FIXED
	orange = r + g;
#endif
}
KEEP int mix(void) {
#ifdef FIXED
	return get_red() + get_green() * 2 + get_orange() + get_blue() * 3;
#else
	return get_red() + get_green() * 2 + get_blue() * 3;
#endif
}
int main(int argc, char **argv) {
	(void)argv;
	do {
		paint(argc, 2, 3);
		printf("%d\n", mix());
		show();
	} while (puts("") < 0);
	return 0;
}
