package types_test

import (
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

// Two types may be held alike and mean different things: what one was is not the other
// by a new name as long as both have their names, or are made of one template.
func TestTypeThatBecameAnotherOneIsFound(t *testing.T) {
	testkit.Tool(t, "g++")
	for _, c := range []struct {
		name, file, source string
		edits              []string // from, to
		want               []string
	}{
		{"instance of a template", "a.cc", `
template <int N> struct duration { long n; };
typedef duration<1> seconds; typedef duration<1000> millis;
struct conn { seconds left; seconds all[2]; void (*armed)(seconds *); } c; millis other; seconds third;
int main(int n, char **v) { return c.left.n + other.n + third.n + n; }
`, []string{"seconds left", "millis left", "*armed)(seconds", "*armed)(millis", "seconds all", "millis all"},
			[]string{"look: struct conn: member left is struct duration<1000> instead of struct duration<1>"}},
		{"instance that the other image has not", "a.cc", `
template <class T, int N> struct ring { T *buf; unsigned head; T get(unsigned i) { return buf[i % N]; } };
struct conn { ring<int, 64> r; int fd; };
int main(int n, char **v) { return ((conn *)v)->r.get(n); }
`, []string{"ring<int, 64>", "ring<int, 4096>"},
			[]string{"look: struct conn: member r is struct ring<int, 4096> instead of struct ring<int, 64>"}},
		{"struct", "a.c", `
struct seconds { long n; }; struct millis { long n; };
struct conn { struct seconds left; } c; struct millis m; struct seconds s;
int main(int n, char **v) { return c.left.n + m.n + s.n; }
`, []string{"struct seconds left", "struct millis left"},
			[]string{"look: struct conn: member left is struct millis instead of struct seconds"}},
		{"struct that only typedefs name", "a.c", `
typedef struct { long n; } seconds; typedef struct { long n; } millis;
struct conn { seconds left; } c; millis m; seconds s;
int main(int n, char **v) { return c.left.n + m.n + s.n; }
`, []string{"{ seconds left", "{ millis left"},
			[]string{"look: struct conn: member left is millis instead of seconds"}},
		{"struct that only one image has", "a.c", `
struct seconds { long n; };
struct conn { struct seconds left; } c; struct seconds s;
int main(int n, char **v) { return c.left.n + s.n; }
`, []string{"struct conn { struct seconds left", "struct millis { long n; }; struct conn { struct millis left"},
			[]string{"look: struct conn: member left is struct millis instead of struct seconds"}},
		{"renamed struct", "a.c", `
struct seconds { long n; };
struct conn { struct seconds left, *all[2]; } c; struct seconds s;
int main(int n, char **v) { return c.left.n + s.n; }
`, []string{"struct seconds", "struct period"}, nil},
		{"enumeration", "a.c", `
enum mode { OFF, ON }; enum level { LOW, HIGH, TOP };
struct conn { enum mode m : 1; enum mode *p; enum mode y; enum level x; } c;
int main(int n, char **v) { return c.m == ON || c.x == TOP || c.y == OFF; }
`, []string{"enum mode m", "enum level m", "enum mode *p", "enum level *p"},
			[]string{"look: struct conn: member m is enum level instead of enum mode"}},
		{"enumeration of a variable", "a.c", `
typedef enum { OFF, ON } mode; typedef enum { LOW, HIGH, TOP } level;
mode m; mode y; level x;
struct conn { mode m; } c;
int main(int n, char **v) { return c.m == ON || x == TOP || y == OFF || m == ON; }
`, []string{"{ mode m;", "{ level m;"},
			[]string{"look: struct conn: member m is level (enum of LOW) instead of mode (enum of OFF)"}},
		{"enumeration in a class", "a.cc", `
enum class mode { OFF, ON }; enum class level { LOW, HIGH, TOP };
struct conn { mode m; mode y; level x; } c;
int main(int n, char **v) { return c.x == level::TOP || c.y == mode::OFF; }
`, []string{"mode m;", "level m;"},
			[]string{"look: struct conn: member m is enum level instead of enum mode"}},
		{"enumeration of which nothing stayed", "a.c", `
typedef enum { OFF, ON } mode;
struct conn { mode m; } c;
int main(int n, char **v) { return c.m == ON; }
`, []string{"{ OFF, ON }", "{ LOW, HIGH }", "== ON", "== HIGH"},
			[]string{"look: struct conn: member m is mode (enum of LOW) instead of mode (enum of OFF)"}},
		{"renamed enumeration", "a.c", `
enum mode { OFF, ON };
struct conn { enum mode m; } c;
int main(int n, char **v) { return c.m == ON; }
`, []string{"enum mode", "enum state", "ON }", "ON, AUTO }"}, nil},
		{"enumeration for a number", "a.c", `
enum mode { OFF, ON };
struct conn { int m; unsigned char s; unsigned flag : 1; enum mode y; } c;
int main(int n, char **v) { return c.m == ON || c.y == ON; }
`, []string{"int m;", "enum mode m;", "unsigned flag", "enum mode flag"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			isFound(t, changedTypes(t, c.file, c.source, strings.NewReplacer(c.edits...).Replace(c.source), "-g"), c.want...)
		})
	}
}

// Who kept the value of an enumerator that is gone keeps that of the one that took it.
func TestEnumeratorWhoseValueAnotherOneTookIsFound(t *testing.T) {
	const base = `
enum state { INIT, READ, DONE };
enum { OUT, TRUSTED, LEFT };
enum counted { C1, C2, C_MAX };
enum aliased { ZERO, FIRST = 0, ONE };
enum fewer { F1, F2, F3 };
enum one { A1, A2, A3 }; enum two { B1, B2, B3 };
struct conn { enum state s; enum counted c; enum aliased a; enum fewer f; enum one x; enum two y; int trust; } c;
int main(int n, char **v) { return c.s == INIT || c.trust == LEFT || n == A1 + B1; }
`
	isFound(t, changedTypes(t, "a.c", base, strings.NewReplacer(
		"INIT, READ, DONE", "INIT, VERIFY, READING, FINISHED",
		"OUT, TRUSTED, LEFT", "OUT, REJECTED, LEFT, AUTHED",
		"C1, C2, C_MAX", "C1, C2, C3, C_NUM",
		"ZERO, FIRST = 0, ONE", "ZERO, BEGIN = 0, ONE",
		"F1, F2, F3", "F1, F3 = 2, F4",
		"{ A1, A2, A3 }; enum two { B1, B2, B3 }", "{ A1, A3 = 2 }; enum two { B1, B2, B3, A2 = 1 }",
	).Replace(base), "-g"),
		"local: enum state: VERIFY took the value of READ, which is gone",
		"local: enum of OUT: REJECTED took the value of TRUSTED, which is gone")
	isFound(t, changedTypes(t, "a.c", base, strings.Replace(base, "{ OUT, TRUSTED", "{ NOBODY, TRUSTED", 1), "-g"),
		"local: enum of NOBODY: was enum of OUT: NOBODY took the value of OUT, which is gone")
}
