// A library in C++ that two compilers (or two sets of flags) made: objects with
// tables of virtual functions live on, static ones with their guards, exceptions
// are thrown and caught, types are told apart at run time.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef FIXED
#define FIX +100000
#else
#define FIX
#endif

namespace shapes {

struct Refused : std::runtime_error {
	int n;
	Refused(const std::string &what, int n);
	~Refused() override;
};
Refused::Refused(const std::string &what, int n) : std::runtime_error(what), n(n) {}
Refused::~Refused() {}

// What objects have written.
std::string &journal() {
	static std::string it("journal:"); // with a guard
	return it;
}

struct Note { // writes when it is destroyed, also by an exception
	std::string text;
	explicit Note(const char *s);
	~Note();
};
Note::Note(const char *s) : text(s) {}
Note::~Note() {
	journal() += text + ";";
	if (journal().size() > 160)
		journal().erase(8, 100);
}

int calls;
long total;

class Shape {
public:
	explicit Shape(const char *name);
	virtual ~Shape();
	virtual int area(int n) = 0;
	virtual int edge(int n, const char *s) = 0;
	virtual std::string text(int n) const;
	std::string name;
	std::vector<int> seen;
};
Shape::Shape(const char *name) : name(name) {}
Shape::~Shape() { journal() += "~" + name; }
std::string Shape::text(int n) const { return name + std::to_string(n); }

class Scaled {
public:
	virtual ~Scaled();
	virtual int scaled(int n);
	int factor = 3;
};
Scaled::~Scaled() {}
int Scaled::scaled(int n) { return n * 2 + factor; }

#define SHAPE(C, label, k, fix)                                             \
	class C : public Shape, public Scaled {                             \
	public:                                                             \
		C();                                                        \
		~C() override;                                              \
		int area(int n) override;                                   \
		int edge(int n, const char *s) override;                    \
		int scaled(int n) override;                                 \
	};                                                                  \
	C::C() : Shape(label) { factor = k; }                               \
	C::~C() { total += k; }                                             \
	int C::area(int n) {                                                \
		Note note(label " area");                                   \
		if (n % 11 == k % 11)                                       \
			throw Refused(label " refuses", n + k);             \
		int v = edge(n, label " 1234567");                          \
		seen.push_back(v % (k + 40));                               \
		for (int x : seen)                                          \
			v = v * (k + 2) + x;                                \
		calls++;                                                    \
		return (v & 0xffff) fix;                                    \
	}                                                                   \
	int C::edge(int n, const char *s) {                                 \
		int v = k;                                                  \
		for (int i = 0; i < n % 7 + 2; i++)                         \
			v = v * (k + 2) + s[i % 3] + (v >> (k % 5 + 1));    \
		if (v & 1)                                                  \
			v += (int)strtol(s + k % 2, nullptr, 10);           \
		for (int i = n % 9; i > 0; i -= 2)                          \
			v ^= atoi(s + i % 4) * (k + 1) + (int)strlen(s);    \
		total += v & 0xff;                                          \
		return v & 0xffffff;                                        \
	}                                                                   \
	int C::scaled(int n) { return edge(n, label) % 1000 + factor; }

SHAPE(Circle, "circle", 3, )
SHAPE(Square, "square", 4, FIX)
SHAPE(Star, "star", 5, )
SHAPE(Cross, "cross", 6, )
SHAPE(Line, "line", 7, )
SHAPE(Arrow, "arrow", 8, )
SHAPE(Heart, "heart", 9, )
SHAPE(Ring, "ring", 10, )

Shape *all[8]; // that live

__attribute__((noinline)) Shape *make(int n) {
	switch (n & 7) {
	case 0: return new Circle;
	case 1: return new Square;
	case 2: return new Star;
	case 3: return new Cross;
	case 4: return new Line;
	case 5: return new Arrow;
	case 6: return new Heart;
	}
	return new Ring;
}

__attribute__((noinline)) int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

__attribute__((noinline)) int least(Shape *s) {
	if (s->seen.empty())
		return -1;
	qsort(s->seen.data(), s->seen.size(), sizeof(int), by_number);
	return s->seen[0];
}

#ifdef KEPT
struct Work {
	long n;
	int (*order)(const void *, const void *);
};
Work *work;
void keep() { work = new Work{1, by_number}; }
#endif

#ifdef LAMBDA
std::shared_ptr<int> held;
void hold(int n) { held = std::shared_ptr<int>(new int(n), [n](int *p) { total += n; delete p; }); }
#endif

#ifdef RUST // as a part in Rust would have it
asm(R"(
	.text
	.type	other, @function
other:	.cfi_startproc
	.cfi_personality 0x9b, DW.ref.rust_eh_personality
	.cfi_lsda 0x1b, .Lother
	ret
	.cfi_endproc
	.size	other, .-other
	.section .gcc_except_table, "a"
.Lother: .byte	0xff, 0xff, 1, 0
	.data
	.balign	8
	.hidden	DW.ref.rust_eh_personality
DW.ref.rust_eh_personality: .quad rust_eh_personality
	.text
)");
#endif

} // namespace shapes

using namespace shapes;

#ifdef NAMELESS // with -fno-rtti
#define SCALED(s) static_cast<Scaled *>(static_cast<Circle *>(s))
#define SQUARE(s) (n % 8 == 1)
#else
#define SCALED(s) dynamic_cast<Scaled *>(s)
#define SQUARE(s) dynamic_cast<Square *>(s)
#endif

extern "C" const char *lib_ask(char what, int n, char *out, int size) {
	int v = 0;
	try {
		Note note("asked");
		Shape *&s = all[n & 7];
		if (!s)
			s = make(n);
		switch (what) {
		case 'a': v = s->area(n); break;
		case 's': v = SCALED(s)->scaled(n); break;
		case 't': v = (int)s->text(n).size() + (SQUARE(s) ? 1000 FIX : 0); break;
		case 'd': delete s; s = nullptr; break;
		case 'q': v = least(s); break;
		case 'j': snprintf(out, size, "%s", journal().c_str()); return out;
		}
	} catch (const Refused &r) {
		snprintf(out, size, "%s %d", r.what(), r.n);
		return out;
	}
	snprintf(out, size, "%d calls=%d total=%ld", v, calls, total);
	return out;
}
