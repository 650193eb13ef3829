#include "common.h"
KEEP int dispatch(int op, const char *s) {
	switch (op) {
	case 0: return note("zero");
	case 1: return parse(s);
	case 2: return (int)add(5);
	case 3: show(); return 3;
	case 4: return note(s) + 1;
	case 5: return parse(s) * 2;
	case 6: return calls;
#ifdef FIXED
	case 7: return note("seven");
#endif
	case 9: return (int)add(op);
	}
	return -1;
}
KEEP int untouched(int op) {
	switch (op) {
	case 0: return note("a");
	case 1: return note("b");
	case 2: return note("c") + 2;
	case 3: show(); return 7;
	case 4: return parse("4");
	case 5: return (int)add(2);
	}
	return 0;
}
int main(int argc, char **argv) {
	do {
		printf("%d %d\n", dispatch(argc, argv[0]), untouched(argc));
	} while (puts("") < 0);
	return 0;
}
