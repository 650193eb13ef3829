// Functions that throw, catch and let exceptions pass.
#include "throws.h"

Own::~Own() {}
Derived::~Derived() {}

namespace {
struct Hidden { int n; }; // a type of this file: told by its address
#ifdef FIXED
struct New : Own {
	explicit New(int n) : Own(n) {}
	~New() override;
};
New::~New() {}
#endif
thread_local int gone;
struct Guard {
	int weight;
	explicit Guard(int w) : weight(w) {}
	~Guard() { gone += weight; __asm__ volatile("" ::: "memory"); }
};
}

EXPORT int raise_kind(int n) {
	switch (n) {
	case 1: throw Own(1);
	case 2: throw Derived(2);
	case 3: throw std::runtime_error("three");
	case 4: throw 4;
	case 5: throw Hidden{5};
	case 6: throw std::bad_alloc();
	}
	return 0;
}
EXPORT int cleanups() { int n = gone; gone = 0; return n; }

EXPORT int throws_itself(int n) {
#ifdef FIXED
	if (n < 0)
		throw std::invalid_argument("negative");
#endif
	return n + OLD_NEW(1, 1000);
}
// The base knows Own alone; the fix catches what it never caught.
EXPORT int catches(int n) {
	try {
		return raise_kind(n) + OLD_NEW(1, 1000);
	} catch (const Own &e) {
		return e.n + OLD_NEW(10, 1010);
#ifdef FIXED
	} catch (const std::runtime_error &e) {
		return 2000 + (int)strlen(e.what());
	} catch (int i) {
		return 3000 + i;
#endif
	}
}
EXPORT int catches_base(int n) {
	try {
		raise_kind(n);
	} catch (const std::exception &e) {
		return OLD_NEW(20, 1020);
	} catch (Own &e) {
		return e.n + OLD_NEW(30, 1030);
	}
	return OLD_NEW(40, 1040);
}
EXPORT int catches_hidden(int n) {
	try {
		raise_kind(n);
	} catch (const Hidden &h) {
		return h.n + OLD_NEW(50, 1050);
	}
	return OLD_NEW(60, 1060);
}
EXPORT int catches_all(int n) {
	try {
		raise_kind(n);
	} catch (...) {
		return OLD_NEW(70, 1070);
	}
	return OLD_NEW(80, 1080);
}
EXPORT int passes(int n) {
	Guard a(1);
	Guard b(OLD_NEW(10, 100));
	return raise_kind(n) + OLD_NEW(90, 1090);
}
EXPORT int rethrows(int n) {
	try {
		Guard a(OLD_NEW(1, 2));
		return raise_kind(n) + OLD_NEW(1, 1000);
	} catch (...) {
		gone += OLD_NEW(10, 100);
		throw;
	}
}
EXPORT int no_frame(int (*f)(int), int n) { return f(n) + OLD_NEW(1, 1000); }
EXPORT int new_type(int n) {
#ifdef FIXED
	if (n == 7)
		throw New(7);
#endif
	return raise_kind(n) + OLD_NEW(1, 1000);
}
EXPORT int nested(int n) {
	try {
		return passes(n) + OLD_NEW(1, 1000);
	} catch (const Derived &d) {
		try {
			Guard g(OLD_NEW(3, 5));
			throw std::out_of_range("inner");
		} catch (const std::logic_error &) {
			return d.n + OLD_NEW(100, 1100);
		}
	}
}
