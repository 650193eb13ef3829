package diff_test

import (
	"maps"
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// debugFlags are the ways in which gcc writes types. The first ones differ.
var debugFlags = [][]string{{"-g"}, {"-gdwarf-4", "-fdebug-types-section"}, {"-gdwarf-5", "-fdebug-types-section"}}

// typeUnits are those of debugFlags that put types into units of their own.
var typeUnits = debugFlags[1:]

// With LTO the types are in other units than the code.
func TestTypesOfLTOAreCompared(t *testing.T) {
	files := map[string]string{
		"one.c": "struct s { long a; int b; };\n__attribute__((noinline, noipa)) int one(struct s *s) { return s->b; }\n",
		"two.c": "int one(void *);\nint main(int n, char **v) { return one(v) + n; }\n",
	}
	base := compileFiles(t, files, "-g", "-flto=1")
	files["one.c"] = strings.Replace(files["one.c"], "long a;", "long a, x;", 1)
	fixed := compileFiles(t, files, "-g", "-flto=1")
	d := compare(t, base, fixed)
	found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["one"]})
	if !known || err != nil || len(found) != 1 {
		t.Errorf("found %v (known %v, error %v)", found, known, err)
	}
}

// Units with lines and functions, but no types, prove nothing.
func TestLineTablesAreNoTypes(t *testing.T) {
	const source = "struct s { long a; int b; } s;\nint main(int n, char **v) { (void)v; return s.b + n; }\n"
	for _, flag := range []string{"-g1", "-gsplit-dwarf"} {
		base := compile(t, source, flag)
		fixed := compile(t, strings.Replace(source, "long a;", "long a, x;", 1), flag)
		d := compare(t, base, fixed)
		if found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["main"]}); known && err == nil {
			t.Errorf("%s: known, found %v", flag, found)
		}
	}
}

// Two files: what is compared depends on which of them holds changed code.
func TestTypesOfUnchangedFilesAreNotCompared(t *testing.T) {
	const header = `
struct used { long a; int b; };
struct hidden { long a; int b; };
struct option { int offset; };
struct unused { int a; };
`
	const one = `
#include "types.h"
extern struct option table[];
int limit = 3;
int work(void *p, int n) { return ((struct used *)p)->b + n; }
int generic(const char *p, int n) { return *(int *)(p + table[n].offset); }
`
	const two = `
#include "types.h"
struct option table[] = { { __builtin_offsetof(struct hidden, b) } };
int other(void *p) { return ((struct hidden *)p)->b; }
int work(void *, int); int generic(const char *, int);
int main(int n, char **v) { return work(v, n) + generic(v[0], 0) + other(v); }
`
	for _, c := range []struct {
		name string
		// edits of the three files: pairs of old and new text
		header, one, two []string
		changed          string // the function that is carried
		want             string // type, "" for none
	}{
		{name: "behind a void pointer", header: []string{"struct used { long a;", "struct used { long a, x;"}, changed: "work", want: "struct used"},
		{name: "unused by the file", header: []string{"struct unused { int a;", "struct unused { int a, b;"}, one: []string{"+ n;", "- n;"}, changed: "work", want: ""},
		{name: "of another file", header: []string{"struct hidden { long a;", "struct hidden { long a, x;"}, one: []string{"->b + n;", "->b - n;"}, changed: "work", want: ""},
		{name: "of the file of a table", header: []string{"struct hidden { long a;", "struct hidden { long a, x;"}, changed: "generic", want: "struct hidden"},
		{name: "of the file of another function", header: []string{"struct hidden { long a;", "struct hidden { long a, x;"}, changed: "other", want: "struct hidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			edit := func(s string, e []string) string {
				if len(e) == 2 {
					return strings.Replace(s, e[0], e[1], 1)
				}
				return s
			}
			// Which functions are "changed" is said, not found: a real change of
			// a used type changes its users as well.
			base := compileFiles(t, map[string]string{"types.h": header, "one.c": one, "two.c": two}, "-g")
			fixed := compileFiles(t, map[string]string{"types.h": edit(header, c.header), "one.c": edit(one, c.one), "two.c": edit(two, c.two)}, "-g")
			d := compare(t, base, fixed)
			f := funcs(t, fixed, d)[c.changed]
			if f == nil {
				t.Fatalf("no function %s", c.changed)
			}
			found, known, err := d.LayoutsFor([]*diff.Func{f})
			if err != nil || !known {
				t.Fatalf("known %v, error %v", known, err)
			}
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || found[0].Type != c.want) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}

// A variable that a header declares has its type there, and only its place
// where it is defined.
func TestMemberOfADeclaredVariableLeadsToItsFile(t *testing.T) {
	files := map[string]string{
		"types.h": "struct state { long a; int count; struct { int x[9]; } in; }; extern struct state state;\n",
		"one.c":   "#include \"types.h\"\nint one(int n) { return state.in.x[n] + state.count; }\n",
		"two.c":   "#include \"types.h\"\nstruct kept { int a; };\nstruct state state = {1, 2};\nint two(void *p) { return ((struct kept *)p)->a; }\n",
		"three.c": "struct hidden { int a; };\nint one(int); int two(void *);\nint main(int n, char **v) { return one(n) + two(v) + ((struct hidden *)v)->a; }\n",
	}
	base := compileFiles(t, files, "-g")
	for file, want := range map[string]string{"three.c": "", "two.c": "struct kept"} {
		edited := maps.Clone(files)
		edited[file] = strings.Replace(files[file], "{ int a; }", "{ int b, a; }", 1)
		fixed := compileFiles(t, edited, "-g")
		d := compare(t, base, fixed)
		found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["one"]})
		if !known || err != nil {
			t.Fatalf("known %v, error %v", known, err)
		}
		if want == "" && len(found) > 0 || want != "" && (len(found) != 1 || found[0].Type != want) {
			t.Errorf("%s: found %v, want %q", file, found, want)
		}
	}
}

// A file without types could handle any of them.
func TestCodeWithoutTypesHasAllCompared(t *testing.T) {
	const header = "struct s { long a; int b; };\n"
	files := map[string]string{
		"types.h": header,
		"one.c":   "#include \"types.h\"\nint one(struct s *s) { return s->b; }\n",
		"bare.c":  "#pragma GCC diagnostic ignored \"-Wall\"\nint one(void *); int main(int n, char **v) { return one(v) + n; }\n",
	}
	base := compileFiles(t, files, "-g")
	files["types.h"] = "struct s { long a, x; int b; };\n"
	fixed := compileFiles(t, files, "-g")
	d := compare(t, base, fixed)
	if found, _, _ := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["main"]}); len(found) != 0 {
		t.Errorf("main of another file: found %v", found)
	}
	if found, _, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["_start"]}); len(found) != 1 || err == nil {
		t.Errorf("code in no unit: found %v, error %v", found, err)
	}
}

// A change of a type is found whichever file has it: nothing says which ones
// handle it.
func TestTypesInTypeUnitsOfOtherFilesAreCompared(t *testing.T) {
	files := map[string]string{
		"types.h": "struct used { long a; int b; };\nstruct hidden { long a; int b; };\nstruct unused { int a; };\n",
		"one.c":   "#include \"types.h\"\nint work(void *p, int n) { return ((struct used *)p)->b + n; }\n",
		"two.c":   "#include \"types.h\"\nint work(void *, int);\nint main(int n, char **v) { return work(v, n) + ((struct hidden *)v)->b; }\n",
	}
	for _, flags := range typeUnits {
		base := compileFiles(t, files, flags...)
		for name, want := range map[string]string{"used": "struct used", "hidden": "struct hidden", "unused": ""} {
			edited := maps.Clone(files)
			edited["types.h"] = strings.Replace(files["types.h"], name+" { ", name+" { long more; ", 1)
			edited["one.c"] = strings.Replace(files["one.c"], "+ n", "- n", 1)
			fixed := compileFiles(t, edited, flags...)
			d := compare(t, base, fixed)
			found, known, err := d.LayoutsFor([]*diff.Func{funcs(t, fixed, d)["work"]})
			if !known || err != nil {
				t.Fatalf("known %v, error %v", known, err)
			}
			if want == "" && len(found) > 0 || want != "" && (len(found) != 1 || found[0].Type != want) {
				t.Errorf("%v, %s: found %v, want %q", flags, name, found, want)
			}
		}
	}
}
