#include "common.h"
/* What gives a runtime away that finds its way on a stack by tables of return
   addresses. Without any of it, a text only speaks of one. */
#ifdef FRAMES
long caml_frametable[2] __attribute__((used, visibility("default"))) = {1, 2};
#endif
#ifdef RUNTIME
#define OPTION RUNTIME
#else
#define OPTION "try OCAMLRUNPARAM=b or GHCRTS"
#endif
KEEP int check(int n) {
#ifdef FIXED
	if (n > 100)
		return -1;
#endif
	return parse(getenv(OPTION) ? "1" : "2") + n;
}
int main(int argc, char **argv) {
	(void)argv;
	printf("%d\n", check(argc));
	show();
	return 0;
}
