// What functions do with exceptions: -DFIXED changes one of each kind.
#include <cstdio>
#include <new>
#include <stdexcept>
#define KEEP extern "C" __attribute__((noinline, noclone, used))

struct Own { int n; virtual ~Own(); };
struct Other { int n; virtual ~Other(); };
Own::~Own() { puts("own"); }
Other::~Other() { puts("other"); }
struct Guard { const char *s; ~Guard() { puts(s); } };

KEEP int raise_kind(int n) {
	switch (n) {
	case 1: throw Own();
	case 2: throw Other();
	case 3: throw std::bad_alloc();
	}
	return n;
}
// The code is the same: only the type that is caught is another one.
KEEP int catches_another(int n) {
	try {
		return raise_kind(n);
#ifdef FIXED
	} catch (const Other &) {
#else
	} catch (const Own &) {
#endif
		return -1;
	}
}
KEEP int catches_same(int n) {
	try {
		return raise_kind(n) + 1;
	} catch (const Own &) {
		return -2;
	} catch (const std::exception &) {
		return -3;
	}
}
KEEP int catches_more(int n) {
	try {
		return raise_kind(n) + 2;
	} catch (const Own &) {
		return -2;
#ifdef FIXED
	} catch (const std::bad_alloc &) {
		return -5;
#endif
	}
}
KEEP int cleans(int n) {
	Guard g{"bye"};
#ifdef FIXED
	if (n > 100)
		n = 100;
#endif
	return raise_kind(n) * 3;
}
int main(int argc, char **) {
	printf("%d %d %d %d\n", catches_another(argc), catches_same(argc), catches_more(argc), cleans(argc));
}
