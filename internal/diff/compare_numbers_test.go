package diff_test

import (
	"testing"

	"hotpatch/internal/diff"
)

func TestNumberUnderANameMayBeAnother(t *testing.T) {
	const source = `
extern char LIMIT[], KEPT[];
__attribute__((noinline)) int over(int n) { return n > (long)LIMIT; }
__attribute__((noinline)) int under(int n) { return n < (long)KEPT; }
`
	library := func(limit string) string {
		return compile(t, source, "-fPIC", "-shared", "-Wl,--defsym=LIMIT="+limit, "-Wl,--defsym=KEPT=7")
	}
	base, fixed := library("100"), library("50")
	d := compare(t, base, fixed)
	of := funcs(t, fixed, d)
	if s, why := d.State(of["over"]); s != diff.Changed {
		t.Errorf("over is %v (%s), though its limit is another number", s, why)
	}
	if s, why := d.State(of["under"]); s != diff.Same {
		t.Errorf("under is %v (%s)", s, why)
	}
}
