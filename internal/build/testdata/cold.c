#include "common.h"
__attribute__((cold)) KEEP void warn(const char *why) { note(why); }
KEEP int work(const char *s, int n) {
	int v = parse(s);
	if (v < 0) {
		warn("bad number");
		v = n * 3 + (int)add(n);
	}
#ifdef FIXED
	if (n > 9) {
		warn("too many");
		v = (int)add(v);
	}
#endif
	return v + n;
}
int main(int argc, char **argv) {
	do {
		printf("%d\n", work(argv[argc - 1], argc));
		show();
	} while (puts("") < 0);
	return 0;
}
