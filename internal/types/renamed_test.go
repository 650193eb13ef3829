package types_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

// changedTypes compares two sources, of files of one name, and lists what is found.
func changedTypes(t *testing.T, file, base, fixed string, flags ...string) []string {
	t.Helper()
	flags = append([]string{"-w"}, flags...)
	found, known, err := compare(open(t, compileFiles(t, map[string]string{file: base}, flags...)),
		open(t, compileFiles(t, map[string]string{file: fixed}, flags...)))
	if !known || err != nil {
		t.Fatalf("known %v, error %v", known, err)
	}
	var out []string
	for _, l := range found {
		text := l.Type + ": " + l.Detail
		switch {
		case l.Padding:
			text = "look: " + text
		case l.Local:
			text = "local: " + text
		case l.Enum:
			text = "enum: " + text
		}
		out = append(out, text)
	}
	return out
}

// isFound holds what was found against the starts of what should be.
func isFound(t *testing.T, found []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, w) }) {
			t.Errorf("%q is not found", w)
		}
	}
	for _, f := range found {
		if !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(f, w) }) {
			t.Errorf("found %q", f)
		}
	}
}

// A type that has another name than before, or none, is known by what has it and by
// its members.
func TestTypesAreComparedUnderAnyName(t *testing.T) {
	const base = `
typedef struct { int used, limit; } *by_pointer;
typedef struct { int used, limit; } by_array[1];
typedef volatile struct { int used, limit; } qualified;
typedef struct { int used1, limit1; } alias;
struct tag { int used2, limit2; };
struct grown { int used3, limit3; };
struct same { int used4, limit4; };
struct inner { int id; struct { int used, limit; } *q; } inner;
struct local { int used5, limit5; };
struct one { int a; }; struct two { int b; };
struct __attribute__((aligned(16))) aligned { char b[64]; } aligned;
#define P(T, p) ((T *)v)
int f1(by_pointer p) { return p->used + p->limit; }
int f2(by_array p) { return p->used + p->limit; }
int f3(qualified *p) { return p->used + p->limit; }
int f4(alias *p) { return p->used1 + p->limit1; }
int f5(void *v) { struct tag *p = v; return p->used2 + p->limit2; }
int f6(struct grown *p) { return p->used3 + p->limit3; }
int f7(struct same *p) { return p->used4 + p->limit4; }
int f8(void *v) { struct one *p = v; struct two *q = v; return p->a + q->b; }
int g1(void *v) { struct cfg { int a, b; } *p = v; return p->a + p->b; }
int g2(void *v) { struct cfg { int b, a; } *p = v; return p->a + p->b; }
int g3(void *v) { struct cfg { long b; int a; } *p = v; return p->a + p->b; }
int main(int n, char **v) { return n + f1(v) + f2(v) + f3(v) + f4(v) + f5(v) + f6(v) + f7(v) + f8(v) + g1(v) + g2(v) + g3(v) + inner.id + aligned.b[n]; }
`
	edits := strings.NewReplacer(
		"used, limit", "limit, used",
		"{ int used1, limit1; } alias", "{ int limit1, used1; } called",
		"alias *p", "called *p",
		"struct tag { int used2, limit2; }", "struct label { int limit2, used2; }",
		"struct tag *p", "struct label *p",
		"struct grown { int used3, limit3; }", "struct larger { int used3, more, limit3; }",
		"struct grown *p", "struct larger *p",
		"struct same {", "struct equal {", "struct same *p", "struct equal *p",
		"struct one *p = v; struct two *q = v; return p->a + q->b", "struct two *p = v; struct one *q = v; return p->b + q->a",
		"g1(void *v) { struct cfg { int a, b; }", "g1(void *v) { struct cfg { int b, a; }",
		"aligned(16)", "aligned(64)",
	)
	for _, flags := range debugFlags {
		t.Run(flags[0], func(t *testing.T) {
			found := changedTypes(t, "a.c", base, edits.Replace(base), flags...)
			want := []string{
				"by_pointer: member used moved from offset 0 to 4",
				"qualified: member used moved",
				"called: is called instead of alias: member used1 moved",
				"struct label: is struct label instead of struct tag: member used2 moved",
				"struct larger: is struct larger instead of struct grown: has 12 bytes instead of 8",
				"struct inner: member q points to a struct without a name of another layout: member used moved",
				"unnamed struct: is a struct without a name",
				"struct g1()::cfg: member a moved",
				"struct aligned: is aligned to 64 bytes instead of 16 bytes",
			}
			isFound(t, found, want...)
		})
	}
	isFound(t, changedTypes(t, "a.c", base, base, "-g"))
}

// An enumerator is known by its name, whatever enumeration it is of.
func TestEnumeratorsAreComparedUnderAnyName(t *testing.T) {
	const base = `
enum { INIT, AUTH };
typedef enum { LOW, HIGH } level;
enum state { FIRST, SECOND };
enum kind { RED, GREEN };
enum other { BLUE = 7 };
enum { ONE, TWO, THREE };
enum queue { READY, QUEUE_END };
enum p { P, P_MAX };
struct conn { int a; level level; int state; enum kind kind; } c;
int main(int n, char **v) { return c.a == AUTH || c.level == HIGH || c.state == SECOND || c.kind == GREEN || n == BLUE || n == THREE || n == QUEUE_END || n == P_MAX; }
`
	edits := strings.NewReplacer("{ ONE, TWO, THREE }", "{ ONE, TWO }; enum { NUMBERS, THREE = 5 }", "{ READY, QUEUE_END", "{ READY, BUSY, QUEUE_END", "{ P, P_MAX", "{ P, Q, P_MAX",
		"{ INIT", "{ NONE, INIT", "{ LOW", "{ NOTHING, LOW", "enum state { FIRST,", "enum condition { FIRST, BETWEEN,",
		"enum kind kind", "enum color kind", "enum kind {", "enum color { BLACK,", "enum other { BLUE = 7", "enum another { BLUE = 7, WHITE")
	isFound(t, changedTypes(t, "a.c", base, edits.Replace(base), "-g"),
		"enum: enum of NONE: was enum of INIT: INIT is 1 instead of 0",
		"enum of NOTHING: was enum of LOW: LOW is 1 instead of 0",
		"enum: enum condition: was enum state: SECOND is 2 instead of 1",
		"enum: enum of NUMBERS: was enum of ONE: THREE is 5 instead of 2",
		"local: enum queue: QUEUE_END is 2 instead of 1",
		"enum color: was enum kind: RED is 1 instead of 0")
}

func TestClassesAndClosuresAreComparedWhereTheyAre(t *testing.T) {
	testkit.Tool(t, "g++")
	const base = `
struct A { int a; }; struct B { int b; }; struct D : A, B { int c; };
struct V final : virtual A, virtual B { int c; };
class Tag { public: int x, y; };
template <class F> struct Keep { F f; };
template <class F> __attribute__((noinline)) int (*keep(F f))(void *, int) { *(void **)0 = new Keep<F>{f}; return +[](void *p, int n) { return ((Keep<F> *)p)->f(n); }; }
int one(int x, int y) { return keep([x, y](int n) { return x * 100 + y * 10 + n; })(0, x); }
int two(int x, int y) { return keep([y, x](int n) { return x * 200 + y * 10 + n; })(0, x); }
int main(int n, char **v) { D *d = (D *)v; Tag *t = (Tag *)v; V w; w.a = n; w.b = n; keep([&w](int n) { return w.a + n; }); return d->a + d->b + t->x + one(n, n) + two(n, n); }
`
	for _, c := range []struct{ from, to, want string }{
		{"virtual A, virtual B", "virtual B, virtual A", "struct V: its virtual base classes are others"},
		{"D : A, B {", "D : B, A {", "struct D: member base class A moved from offset 0 to 4"},
		{"[x, y]", "[y, x]", "struct one()::<lambda>: member __x moved from offset 0 to 4"},
		{"class Tag { public: int x, y;", "struct Tag { int y, x;", "struct Tag: is struct Tag instead of class Tag: member x moved from offset 0 to 4"},
		{"* 200", "* 300", ""},
	} {
		found := changedTypes(t, "a.cc", base, strings.Replace(base, c.from, c.to, 1), "-g")
		if c.want == "" {
			isFound(t, found)
		} else if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, c.want) }) {
			t.Errorf("%s: found %q", c.to, found)
		}
	}
}

// Units have other names when they are built in another directory.
func TestUnitsOfAnotherDirectoryAreCompared(t *testing.T) {
	const source = "typedef struct { int a, b; } pair[1];\nint get(pair p) { return p->a + p->b; }\n"
	const other = "typedef struct { int z; } pair[1];\nint main(int n, char **v) { return n + ((int (*)(void *))v)(v); }\n"
	build := func(edit string) string {
		dir := t.TempDir()
		files := map[string]string{"b.c": strings.Replace(source, "a, b", edit, 1), "c.c": other}
		var args []string
		for _, name := range []string{"b.c", "c.c"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		return compile(t, "int get(void *);\nint keep(void *p) { return get(p); }\n", append([]string{"-g", "-w"}, args...)...)
	}
	found, known, err := compare(open(t, build("a, b")), open(t, build("b, a")))
	if !known || err != nil || len(found) == 0 {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}
