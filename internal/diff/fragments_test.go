package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// TestColdPartsOfStrippedFunctionsAreKnown: what the names of the parts say is
// found without them, whether the parent has a frame or not.
func TestColdPartsOfStrippedFunctionsAreKnown(t *testing.T) {
	path := compile(t, `
#include <stdio.h>
#include <stdlib.h>
#define API __attribute__((noinline, noipa))
#define RARE __attribute__((cold, noinline, noipa))
RARE int complain(const char *s) { fputs(s, stderr); return -1; }
RARE void stop(int n) { exit(n); }
API int frameless(int *p) { if (!p) __builtin_trap(); return *p + 1; }
API int twice(int *p, int n) { for (int i = 0; i < n; i++) if (!p[i]) { complain("zero"); p[i] = 1; } return p[0]; }
API int framed(int *p, int n) {
	int s = 0;
	for (int i = 0; i < n; i++) { if (p[i] < 0) { complain("negative"); complain("sorry"); stop(p[i]); } s += frameless(p + i); }
	return s;
}
API int tail(int *p) { return frameless(p); }
API int dispatch(int (*f)(int *), int *p) { return f(p); }
API int once(int (*f)(int *), int *p) { p[1] = 3; return dispatch(f, p); }
int main(int n, char **v) { int a[4] = { n, n, 1, n }; return framed(a, 4) + tail(a) + twice(a, 4) + once(tail, a); }
`, "-freorder-blocks-and-partition")
	named := compare(t, path, path)
	bare := compare(t, strip(t, path), strip(t, path))
	parts := 0
	for _, f := range named.Fixed.Funcs {
		g := bare.Fixed.Entry(f.Lo)
		if g == nil || f.Fragment != g.Fragment {
			t.Errorf("%s: fragment %v, stripped %+v", f.Name(), f.Fragment, g)
		}
		if strings.HasSuffix(f.Name(), ".cold") {
			parts++
		}
	}
	if parts < 2 {
		t.Errorf("the compiler made only %d cold parts", parts)
	}
}

// A cold part that only a switch table leads to, by its first entry, and that
// nothing marks as one: the table is still a table, and the same.
func TestSwitchTableThatLeadsToAColdPartIsCompared(t *testing.T) {
	source := `
#include <stdio.h>
#define API __attribute__((noinline, noipa))
__attribute__((cold, noinline, noipa)) int complain(int a) { fputs("no", stderr); return -a; }
API int shift(int a) { GROWN return a * 3; }
API int one(int a) { return a ^ 0x51; }
API int two(int a) { return a * 7 + 1; }
API int three(int a) { return a / 3; }
API int four(int a) { return a % 11; }
API int dispatch(unsigned op, int a) {
	switch (op) {
	case 0: return complain(a);
	case 1: return one(a);
	case 2: return two(a);
	case 3: return three(a);
	case 4: return four(a);
	case 5: return one(two(a));
	}
	return 0;
}
int main(int n, char **v) { return dispatch(n, n) + shift(n); }
`
	base := compile(t, source, "-DGROWN=", "-freorder-blocks-and-partition")
	fixed := compile(t, source, "-DGROWN=if(a>5)a+=one(a);if(a>50)a-=two(a);", "-freorder-blocks-and-partition")
	named := compare(t, base, fixed)
	d := compare(t, strip(t, base), strip(t, fixed))
	cold := false
	for _, f := range named.Fixed.Funcs {
		cold = cold || f.Name() == "dispatch.cold"
		if f.Name() != "dispatch" {
			continue
		}
		g := d.Fixed.Entry(f.Lo)
		if g == nil {
			t.Fatal("dispatch is no function in the stripped file")
		}
		if s, why := d.State(g); s != diff.Same {
			t.Errorf("dispatch is %v: %s", s, why)
		}
	}
	if !cold {
		t.Error("the compiler made no cold part of dispatch")
	}
}
