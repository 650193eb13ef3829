package diff_test

import (
	"testing"

	"hotpatch/internal/image"
)

// What a function does with addresses pairs the functions behind them, whatever
// order and instructions the compiler chose; so it does for the variables and
// the sizes of what is allocated.
func TestRecompiledFunctionsAreFoundByWhatBecomesOfThem(t *testing.T) {
	const source = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct ops { long id; int (*a)(int), (*b)(int), (*c)(int), (*d)(int); char more[MORE]; };
#define F(f, k) __attribute__((noinline)) static int f(int n) { return n * k + k; }
F(f1, 3) F(f2, 5) F(f3, 7) F(f4, 9) F(f5, 11) F(f6, 13)
#define LONG(f, k, s) __attribute__((noinline)) int f(int n, const char *p) { int v = k; \
	for (int i = 0; i < n; i++) v = v * (k + 2) + p[i % 3] + (v >> k % 5); \
	if (v & 1) v += atoi(p) + printf(s); for (int i = n; i > 0; i -= 2) v ^= atoi(p + i) * k; return v; }
LONG(l1, 3, "one") LONG(l2, 4, "two") LONG(l3, 5, "three") LONG(l4, 6, "four")
struct ops *fill(void) {
	struct ops *o = malloc(sizeof *o);
	o->a = f1; o->b = f2; o->c = f3; o->d = f4;
	return o;
}
static int both(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
void sorted(int *v, int n) { qsort(v, n, sizeof *v, both); atexit((void (*)(void))f5); on_exit((void (*)(int, void *))f6, 0); }
`
	base := compile(t, source, "-O2", "-shared", "-fPIC", "-s", "-fno-tree-vectorize", "-DMORE=64")
	for name, want := range map[string]bool{"64": false, "96": true} {
		fixed := compile(t, source, "-O3", "-shared", "-fPIC", "-s", "-fno-schedule-insns2", "-mtune=znver3", "-DMORE="+name)
		d := compare(t, base, fixed)
		n := 0
		for _, e := range d.Entrances() {
			if e.Base.Source != image.FromGap {
				n++
			}
			if e.Why != "" {
				t.Errorf("%s: %s", e.Base.Name(), e.Why)
			}
		}
		if n < 12 {
			t.Errorf("%d entrances", n)
		}
		if got := d.SizeDrift() != ""; got != want {
			t.Errorf("MORE=%s: drift %q", name, d.SizeDrift())
		}
	}
}
