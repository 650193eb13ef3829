#include <cstdio>
#include <stdexcept>
#define KEEP __attribute__((noinline, noclone, used))
KEEP int parse(const char *s) {
	if (*s == 0)
		throw std::runtime_error("empty");
	return *s;
}
KEEP int check(const char *s) {
#ifdef FIXED
	if (s[0] == 'x')
		return -1;
#endif
	return parse(s) + 1;
}
KEEP int leaf(int n) {
#ifdef FIXED
	return n < 0 ? 0 : n * 21;
#else
	return n * 21 + 4;
#endif
}
int main(int argc, char **argv) {
	do {
		try {
			printf("%d\n", check(argv[argc - 1]) + leaf(argc));
		} catch (const std::exception &e) {
			puts(e.what());
		}
	} while (puts("") < 0);
	return 0;
}
