package diff_test

import (
	"testing"

	"hotpatch/internal/diff"
)

const head = `
#include <stdio.h>
#include <stdlib.h>
#define KEEP __attribute__((noinline, noclone, used))
`

// pairsByName compares stripped copies and tells, for every function of the
// fixed program, the name of its counterpart ("" for none).
func pairsByName(t *testing.T, base, fixed string) (map[string]string, *diff.Diff) {
	t.Helper()
	x, y := compile(t, head+base), compile(t, head+fixed)
	d := compare(t, strip(t, x), strip(t, y))
	names := map[*diff.Func]string{}
	for _, s := range open(t, x).Symbols {
		if f := d.Base.Entry(s.Addr); f != nil {
			names[f] = s.Name
		}
	}
	out := map[string]string{}
	for n, f := range funcs(t, y, d) {
		if a := d.BaseOf(f); a != nil {
			out[n] = names[a]
		} else {
			out[n] = ""
		}
	}
	return out, d
}

func want(t *testing.T, got map[string]string, pairs map[string]string) {
	t.Helper()
	for f, a := range pairs {
		if got[f] != a {
			t.Errorf("%s is paired with %q, want %q", f, got[f], a)
		}
	}
}

const plumbing = `
static int a, b, c;
KEEP int one(int n) { a += n; return printf("%d\n", a * 3); }
KEEP int two(int n) { b -= n; return printf("%d %d\n", b, one(n)); }
KEEP int three(int n) { c ^= n; return c + two(n) * 5; }
`

func TestFunctionsThatOnlyTablesNameArePaired(t *testing.T) {
	got, _ := pairsByName(t, plumbing+`
static KEEP int on_get(int n) { return one(n) * 7 + b; }
static KEEP int on_put(int n) { return two(n) * 9 - a; }
static KEEP int on_end(int n) { return three(n) * 11 ^ c; }
static int (*table[])(int) = {on_get, on_put, on_end};
int main(int argc, char **argv) { (void)argv; return table[argc % 3](argc); }
`, plumbing+`
static KEEP int on_end(int n) { if (n > 4 && a) return getenv("X") != 0; return three(n) * 11 ^ c; }
static KEEP int on_put(int n) { if (n > 8 && b) return -puts("no"); return two(n) * 9 - a; }
static KEEP int on_get(int n) { if (n > 6 && c) return -rand(); return one(n) * 7 + b; }
static int (*table[])(int) = {on_get, on_put, on_end};
int main(int argc, char **argv) { (void)argv; return table[argc % 3](argc); }
`)
	want(t, got, map[string]string{"on_get": "on_get", "on_put": "on_put", "on_end": "on_end"})
}

func TestChangedFunctionsArePairedByWhatCallsThem(t *testing.T) {
	got, d := pairsByName(t, plumbing+`
KEEP int low(int n) { return one(n) + 4; }
KEEP int high(int n) { return two(n) + 8; }
int main(int argc, char **argv) { (void)argv; return low(argc) + high(argc) * 2 + three(argc); }
`, plumbing+`
KEEP int high(int n) { return n > 100 ? abs(a) : two(n) + 8; }
KEEP int low(int n) { return n < 0 ? -puts("low") : one(n) + 4; }
int main(int argc, char **argv) { (void)argv; return low(argc) + high(argc) * 2 + three(argc); }
`)
	want(t, got, map[string]string{"low": "low", "high": "high", "one": "one", "main": "main"})
	for _, f := range d.Fixed.Funcs {
		if certain, how := d.Paired(f); d.BaseOf(f) != nil && !certain {
			t.Errorf("%s is paired by %s", f.Name(), how)
		}
	}
}

// One more getter among identical ones: nobody can tell which is new from the
// getters themselves; who calls them does.
func TestTwinsArePairedByTheirCallersOnly(t *testing.T) {
	getters := `
static int r = 1, g = 2, o = 4, b2 = 3;
KEEP int get_r(void) { return r; }
KEEP int get_g(void) { return g; }
`
	rest := `
KEEP int get_b(void) { return b2; }
KEEP int show_r(void) { return printf("r %d\n", get_r()); }
KEEP int show_g(void) { return printf("green %d\n", get_g()); }
KEEP int show_b(void) { return printf("the blue %d\n", get_b()); }
KEEP int set(int n) { r = n; g = n + 1; o = n + 2; b2 = n + 3; return o; }
int main(int argc, char **argv) { (void)argv; return set(argc) + show_r() + show_g() + show_b()`
	got, _ := pairsByName(t, plumbing+getters+rest+"; }\n", plumbing+getters+"KEEP int get_o(void) { return o; }\n"+rest+" + get_o(); }\n")
	want(t, got, map[string]string{"get_r": "get_r", "get_g": "get_g", "get_b": "get_b", "get_o": ""})
}

// Objects may be linked in another order: which of several functions with one
// code is which, their strings say.
func TestTwinsArePairedByWhatTheyName(t *testing.T) {
	twin := func(name string) string {
		return "KEEP int " + name + `(int n) { if (n > 3) puts("` + name + `"); return printf("%d %s\n", n, "` + name + `s"); }
`
	}
	rest := `
int main(int argc, char **argv) { int (*volatile f[])(int) = { pear, plum, fig }; return f[argc](argv[0][0]); }
`
	first, second := twin("pear")+twin("plum")+twin("fig"), twin("fig")+twin("pear")+twin("plum")
	got, _ := pairsByName(t, plumbing+first+rest, plumbing+second+rest)
	want(t, got, map[string]string{"pear": "pear", "plum": "plum", "fig": "fig"})
}

// A function may be given another name when it is given another task; what
// holds it in a table then holds the new one.
func TestRenamedFunctionsArePairedBySlots(t *testing.T) {
	source := func(name, body, more string) string {
		return head + plumbing + more + "KEEP int " + name + "(int n) { " + body + ` }
int (*const ops[])(int) = { one, ` + name + `, three };
int main(int argc, char **argv) { (void)argv; return ops[argc](argc); }
`
	}
	base := compile(t, source("prepare", "return two(n) * 7 + one(n);", ""))
	for _, c := range []struct{ more, want string }{
		{"", "prepare"},
		{"KEEP int prepare(int n) { return three(n) - 2; }\n", ""}, // the old one is still there
	} {
		d := compare(t, base, compile(t, source("obtain", "return two(n + 1) * 9 + three(n);", c.more)))
		for _, f := range d.Fixed.Funcs {
			if f.Name() != "obtain" {
				continue
			}
			got := ""
			if a := d.BaseOf(f); a != nil {
				got = a.Name()
			}
			if got != c.want {
				t.Errorf("obtain is paired with %q, want %q", got, c.want)
			}
		}
	}
}

func TestNamesPairRepeatedStaticFunctions(t *testing.T) {
	// Two functions of one name, as static functions of two files are.
	source := func(more string) string {
		return head + plumbing + `
__attribute__((noinline, noclone, used)) static int helper_a(int n) __asm__("helper");
static int helper_a(int n) { return one(n) ^ 5; }
int main(int argc, char **argv) { (void)argv; ` + more + ` return helper_a(argc) + three(argc); }
`
	}
	d := compare(t, compile(t, source("")), compile(t, source("puts(argv[0]);")))
	for _, f := range d.Fixed.Funcs {
		if f.Name() == "helper" && (d.BaseOf(f) == nil || d.BaseOf(f).Name() != "helper") {
			t.Error("helper has no counterpart")
		}
	}
}

func TestEqualImagesAreTheSame(t *testing.T) {
	path := compile(t, head+plumbing+"int main(int argc, char **argv) { (void)argv; return three(argc); }\n")
	d := compare(t, path, path)
	for _, f := range d.Fixed.Funcs {
		if s, why := d.State(f); s != diff.Same {
			t.Errorf("%s is %s: %s", f.Name(), s, why)
		}
	}
	if len(d.Gone()) != 0 || len(d.InitialValues()) != 0 || d.Drift(false) != "" || len(d.Steps()) != 0 {
		t.Error("an image differs from itself")
	}
}

func TestComparisonIsDeterministic(t *testing.T) {
	base := compile(t, head+plumbing+"int main(int argc, char **argv) { (void)argv; return three(argc); }\n")
	fixed := compile(t, head+"static int fresh;\n"+plumbing+"int main(int argc, char **argv) { (void)argv; fresh += argc; return three(argc) + fresh; }\n")
	describe := func() (out []string) {
		d := compare(t, base, fixed)
		for _, f := range d.Fixed.Funcs {
			s, why := d.State(f)
			_, how := d.Paired(f)
			out = append(out, f.Name()+" "+s.String()+" "+why+" "+how)
			for k := range f.Refs {
				out = append(out, d.Bind(f, k).Why)
			}
		}
		return out
	}
	first := describe()
	for range 3 {
		again := describe()
		if len(again) != len(first) {
			t.Fatal("another number of functions")
		}
		for i := range first {
			if first[i] != again[i] {
				t.Fatalf("%q became %q", first[i], again[i])
			}
		}
	}
}
