package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// What one function keeps for another to call is called with what old code made.
func TestWhatKeptFunctionsTakeIsCompared(t *testing.T) {
	const source = `
struct one { int a; }; struct two { char *p; int a; };
__attribute__((noipa)) int on_event(struct T *p) { return p->a; }
__attribute__((noipa)) static int direct(struct T *p) { return p->a * 2; }
int (*registered)(void *);
int main(int n, char **v) { struct one *p = (void *)v; struct two *q = (void *)v; registered = (void *)on_event; return n + p->a + q->a + direct((void *)v); }
`
	base, fixed := compile(t, source, "-g", "-w", "-DT=one"), compile(t, source, "-g", "-w", "-DT=two")
	d := compare(t, base, fixed)
	fs := funcs(t, fixed, d)
	found, known, err := d.LayoutsFor([]*diff.Func{fs["on_event"], fs["direct"]})
	if !known || err != nil || len(found) != 1 || !found[0].Padding || !strings.HasPrefix(found[0].Type+": "+found[0].Detail, "parameter 1 of on_event: leads to struct two instead of struct one") {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}

// Variables that carried code is handed, and those that LTO describes elsewhere.
func TestVariablesOfEveryUnitAreRead(t *testing.T) {
	files := map[string]string{
		"a.c": "static T level; void set(void *, int); void keep(int n) { set(&level, n); }\n",
		"b.c": "typedef T number;\n__attribute__((noipa)) void set(void *p, int n) { *(T *)p += n; }\nvoid keep(int); int main(int n, char **v) { keep(n); return !v; }\n",
	}
	for _, more := range []string{"-O2", "-flto=1"} {
		base, fixed := compileFiles(t, files, "-g", more, "-DT=int"), compileFiles(t, files, "-g", more, "-DT=float")
		d := compare(t, base, fixed)
		found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["set"]})
		if !known || err != nil || len(found) != 1 || found[0].Padding || found[0].Type != "variable level" {
			t.Errorf("%s: found %v (known %v, error %v)", more, found, known, err)
		}
	}
}

// A compiler that was told not to describe the types of headers says so.
func TestTypesThatAreOnlyNamedAreNotVerified(t *testing.T) {
	const source = "struct s { long a; int b; } s;\nint main(int n, char **v) { (void)v; return s.b + n; }\n"
	path := compile(t, source, "-g", "-femit-struct-debug-baseonly")
	d := compare(t, path, path)
	if _, known, err := d.LayoutsFor([]*diff.Func{funcs(t, path, d)["main"]}); known && err == nil {
		t.Error("known")
	}
}
