// What changes in the program of throws_main.cc: as it is, and with -DFIXED.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#ifdef FIXED
#define OLD_NEW(o, n) n
#else
#define OLD_NEW(o, n) o
#endif
#define NOINLINE __attribute__((noipa))
#define EXPORT extern "C" __attribute__((visibility("default"))) NOINLINE

struct Own {
	int n;
	explicit Own(int n) : n(n) {}
	virtual ~Own();
};
struct Derived : Own {
	explicit Derived(int n) : Own(n) {}
	~Derived() override;
};

// raise throws what n says: 1 Own, 2 Derived, 3 std::runtime_error, 4 int, 5 a
// type of its file, 6 std::bad_alloc; 0: nothing.
EXPORT int raise_kind(int n);
EXPORT int cleanups(); // how many Guards have gone since the last call

EXPORT int throws_itself(int n);
EXPORT int catches(int n);
EXPORT int catches_base(int n);
EXPORT int catches_hidden(int n);
EXPORT int catches_all(int n);
EXPORT int passes(int n);
EXPORT int rethrows(int n);
EXPORT int no_frame(int (*f)(int), int n);
EXPORT int new_type(int n);
EXPORT int nested(int n);
