package types_test

import (
	"fmt"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// debugFlags are the ways in which gcc writes types. The first ones differ.
var debugFlags = [][]string{{"-g"}, {"-gdwarf-4", "-fdebug-types-section"}, {"-gdwarf-5", "-fdebug-types-section"}}

func TestTypesAreComparedByDWARF(t *testing.T) {
	const before = `
struct conn { char *name; int state; long bytes; unsigned flag : 3, rest : 5; };
typedef struct { int x, y; } point;
union value { long n; double d; };
enum mode { OFF, ON, MODE_MAX };
struct holder { enum mode mode; point at; union value v; };
enum local { LOW, HIGH };
enum global { DOWN, UP };
`
	const use = `
struct conn c; struct holder h; enum global g;
__attribute__((noinline)) static enum local pick(int n) { return n ? LOW : HIGH; }
enum { FIRST, SECOND };
int main(void) {
	enum local k = pick(c.state);
	if (g == UP) c.state = SECOND;
	return c.state + h.mode + (int)h.v.n + h.at.x + k;
}
`
	bases := map[string]*image.Image{}
	for _, f := range debugFlags {
		bases[f[0]] = open(t, compile(t, before+use, f...))
	}
	for _, c := range []struct {
		name, from, to string // an edit of before
		want           string // Type and Detail, "" for none
		padding        bool
		enum, local    bool
	}{
		{name: "nothing"},
		{name: "member inserted", from: "long bytes;", to: "long more; long bytes;", want: "struct conn: has 40 bytes instead of 32"},
		{name: "member in padding", from: "int state;", to: "int state; int failed;", want: "struct conn: member failed is new at offset 12", padding: true},
		{name: "members swapped", from: "char *name; int state; long bytes;", to: "long bytes; int state; char *name;", want: "struct conn: member name moved from offset 0 to 16"},
		{name: "bit field moved", from: "flag : 3, rest : 5", to: "flag : 4, rest : 4", want: "struct conn: member flag has another size"},
		{name: "member renamed", from: "long bytes", to: "long octets", want: "struct conn: member octets took the place of bytes", padding: true},
		{name: "kind changed", from: "long bytes", to: "char *bytes", want: "struct conn: member bytes is pointer to 8-bit integer instead of 64-bit integer", padding: true},
		{name: "anonymous struct", from: "int x, y;", to: "int y, x;", want: "point: member x moved from offset 0 to 4"},
		{name: "union grew", from: "double d;", to: "double d; char s[16];", want: "union value: has 16 bytes instead of 8"},
		{name: "enumerator inserted", from: "OFF, ON", to: "OFF, AUTO, ON", want: "enum mode: ON is 2 instead of 1"},
		{name: "enumerator appended before the last", from: "ON, MODE_MAX", to: "ON, AUTO, MODE_MAX"},
		{name: "enumeration of no member", from: "LOW, HIGH", to: "NONE, LOW, HIGH", want: "enum local: LOW is 1 instead of 0", enum: true, local: true},
		{name: "enumeration of a variable", from: "DOWN, UP", to: "NONE, DOWN, UP", want: "enum global: DOWN is 1 instead of 0"},
		{name: "enumeration that nothing has", from: "FIRST, SECOND", to: "FIRST, MIDDLE, SECOND", want: "enum of FIRST: SECOND is 2 instead of 1", enum: true},
	} {
		for _, flags := range debugFlags {
			t.Run(c.name+" "+flags[0], func(t *testing.T) {
				t.Parallel()
				fixed := open(t, compile(t, strings.Replace(before+use, c.from, c.to, 1), flags...))
				found, known, err := compare(bases[flags[0]], fixed)
				if err != nil || !known {
					t.Fatalf("known %v, error %v", known, err)
				}
				if c.want == "" {
					if len(found) != 0 {
						t.Errorf("found %v", found)
					}
					return
				}
				for _, l := range found {
					if text := l.Type + ": " + l.Detail; strings.HasPrefix(text, c.want) {
						if l.Padding != c.padding || l.Enum != c.enum || l.Local != c.local {
							t.Errorf("%s: padding %v, enum %v, local %v", text, l.Padding, l.Enum, l.Local)
						}
						return
					}
				}
				t.Errorf("found %v, want %s", found, c.want)
			})
		}
	}
}

func TestWithoutDWARFNothingIsKnown(t *testing.T) {
	path := compile(t, "int main(void) { return 0; }\n")
	if _, known, err := compare(open(t, path), open(t, path)); known || err != nil {
		t.Errorf("known %v, error %v", known, err)
	}
}

// Objects of two versions of a header in one program: the one that code made
// is what counts, not that somebody still knows the old one.
func TestTypesAreComparedUnitByUnit(t *testing.T) {
	files := map[string]string{
		"one.c": "struct s { long a; int b; };\nint one(struct s *s) { return s->b; }\n",
		"two.c": "struct s { long a; int b; };\nint one(struct s *);\nint main(int n, char **v) { return one((struct s *)v) + ((struct s *)v)->b; }\n",
	}
	base := compileFiles(t, files, "-g")
	files["one.c"] = strings.Replace(files["one.c"], "long a;", "long a, x;", 1)
	found, known, err := compare(open(t, base), open(t, compileFiles(t, files, "-g")))
	if err != nil || !known || len(found) != 1 {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}

func TestClassesAreCompared(t *testing.T) {
	testkit.Tool(t, "g++")
	const source = `
struct Text { const char32_t *runes; long length; };
struct Shape { virtual ~Shape() {} virtual int area() { return 0; } char c; char32_t rune; };
struct Square : Shape { int side = 2; Text name; int area() override { return side * side; } };
int main(int n, char **v) { Square s; s.name.length = v[0][0]; Shape *p = &s; return p->area() + n; }
`
	for _, flags := range debugFlags {
		base := open(t, compileFiles(t, map[string]string{"a.cc": source}, flags...))
		for _, c := range []struct{ name, from, to, want string }{
			{"nothing", "", "", ""},
			{"virtual function inserted", "virtual int area()", "virtual int extra() { return 1; } virtual int area()", "struct Shape: its virtual functions differ"},
			{"base class grew", "char c;", "char c; long more;", "struct Shape: has 32 bytes"},
			{"member in padding", "char c;", "char c, d;", "struct Shape: member d is new"},
		} {
			t.Run(c.name+" "+flags[0], func(t *testing.T) {
				t.Parallel()
				fixed := compileFiles(t, map[string]string{"a.cc": strings.Replace(source, c.from, c.to, 1)}, flags...)
				found, known, err := compare(base, open(t, fixed))
				if err != nil || !known {
					t.Fatalf("known %v, error %v", known, err)
				}
				ok := c.want == "" && len(found) == 0
				for _, l := range found {
					ok = ok || c.want != "" && strings.HasPrefix(l.Type+": "+l.Detail, c.want)
				}
				if !ok {
					t.Errorf("found %v, want %q", found, c.want)
				}
			})
		}
	}
}

// Of two equal types in different scopes one changes: the other is no excuse.
func TestOneOfTwoEqualTypesThatChangesIsFound(t *testing.T) {
	const source = `
int f(void *p) { struct local { int a, b; }; return ((struct local *)p)->b; }
int g(void *p) { struct local { int a, b; }; return ((struct local *)p)->b * 3; }
int main(int n, char **v) { return n + f(v) + g(v); }
`
	base := compile(t, source, "-g")
	for _, f := range []string{"int f(void *p) { struct local { ", "int g(void *p) { struct local { "} {
		fixed := compile(t, strings.Replace(source, f, f+"long c; ", 1), "-g")
		for _, images := range [][2]string{{base, fixed}, {fixed, base}} {
			if found, known, err := compare(open(t, images[0]), open(t, images[1])); !known || err != nil || len(found) != 1 {
				t.Errorf("found %v (known %v, error %v)", found, known, err)
			}
		}
	}
}

func TestClosureThatIsNewChangesNoType(t *testing.T) {
	source := map[string]string{"a.cc": `
template <class F> __attribute__((noinline)) int twice(F f) { return f(1) + f(2); }
int main(int n, char **v) {
	long more[4] = {n, n, n, n};
	(void)v;
	int k = twice([n](int i) { return n + i; });
#ifdef FIXED
	k += twice([more](int i) { return (int)more[i]; });
#endif
	return k + (int)more[n & 3];
}
`}
	found, known, err := compare(open(t, compileFiles(t, source, "-g")), open(t, compileFiles(t, source, "-g", "-DFIXED")))
	if !known || err != nil || len(found) != 0 {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}

// Types of one name in different scopes of a file are all compared.
func TestTypesOfOneNameInOneFileAreAllCompared(t *testing.T) {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "int f%d(void *p) { struct local { int a[%d]; int b; }; return ((struct local *)p)->b; }\n", i, i+1)
	}
	b.WriteString("int main(int n, char **v) { return n + f0(v) + f19(v); }\n")
	base := compile(t, b.String(), "-g")
	for edit, want := range map[string]int{"": 0, "a[1]": 1, "a[9]": 1, "a[20]": 1} {
		fixed := compile(t, strings.Replace(b.String(), edit+"; int b", edit+"; long c; int b", min(len(edit), 1)), "-g")
		found, known, err := compare(open(t, base), open(t, fixed))
		if !known || err != nil || len(found) != want {
			t.Errorf("%s: found %v (known %v, error %v), want %d", edit, found, known, err, want)
		}
	}
}
