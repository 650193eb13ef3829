package diff_test

import (
	"maps"
	"testing"

	"hotpatch/internal/image"
)

// Static variables and functions of one name in two files are two, wherever the
// linker puts them and whichever of them is left.
func TestStaticsOfTwoFilesAreTwo(t *testing.T) {
	base := map[string]string{
		"a.c": "static int depth; static int count;\n" +
			"static int handler(int n) { return n + depth; }\nint (*registered)(int) = handler;\n" +
			"int fa(int n) { depth += n; count += n * 2; return depth > 1000 ? -1 : depth + count; }\n",
		"b.c": "static int count;\nint fb(int n) { count += n * 3; if (n == 77) return 3; return n * 2 + count; }\n",
		"m.c": "int fa(int), fb(int); extern int (*registered)(int);\nint main(int n, char **v) { return fa(n) + fb(n) + registered(n) + !v; }\n",
	}
	fixed := maps.Clone(base)
	fixed["a.c"] = "static int count;\nint generic(int);\nint (*registered)(int) = generic;\n" +
		"int fa(int n) { count += n * 2; return n > 1000 ? -1 : n + count; }\n"
	fixed["b.c"] = "static int count; static int depth;\nint generic(int n) { return n + 2; }\n" +
		"__attribute__((noinline)) static int handler(int n) { return n * 1000; }\n" +
		"int fb(int n) { if (++depth > 3) return -7; count += n * 3; if (n == 77) return 3; if (n > 50) return handler(n) + 1; return n * 2 + count; }\n"
	was, is := compileFiles(t, base), compileFiles(t, fixed)
	d := compare(t, was, is)
	fs := funcs(t, is, d)
	if a := d.BaseOf(fs["handler"]); a != nil {
		t.Errorf("handler of b.c is taken for %s of a.c", a.Name())
	}
	if b := d.Map(symbolOf(t, is, "depth")); b.OK() {
		t.Errorf("depth of b.c is taken for that of a.c: %v", b)
	}
	for _, s := range open(t, is).Symbols {
		if s.Name != "count" {
			continue
		}
		b := d.Map(s.Addr)
		if !b.OK() || sourceAt(open(t, was), b.Base) != s.Source {
			t.Errorf("count of %s is taken for that of %q: %v", s.Source, sourceAt(open(t, was), b.Base), b)
		}
	}
	// What is still in one file is the same, and what moved unchanged is paired by
	// its code.
	swapped := maps.Clone(base)
	swapped["a.c"], swapped["b.c"] = base["b.c"], base["a.c"]
	d = compare(t, was, compileFiles(t, swapped))
	for _, f := range d.Fixed.Funcs {
		if a := d.BaseOf(f); len(f.Names) > 0 && (a == nil || a.Name() != f.Name()) {
			t.Errorf("%s moved and is not found", f.Name())
		}
	}
}

func sourceAt(m *image.Image, a image.Addr) string {
	for _, s := range m.SymbolsAt(a) {
		if s.Source != "" {
			return s.Source
		}
	}
	return ""
}
