package diff_test

import (
	"strings"
	"testing"
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
