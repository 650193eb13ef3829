package diff_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// A function with many static variables of one name (generated code, a log macro that
// counts) is looked at once, not once for each: what is allocated grows as they do.
func TestManyStaticVariablesOfOneNameAreLookedAtOnce(t *testing.T) {
	allocated := func(n int) uint64 {
		source := func(check string) string {
			var b strings.Builder
			b.WriteString("#include <stdio.h>\n__attribute__((noipa)) int get(int i) {\n" + check)
			for i := range n {
				fmt.Fprintf(&b, "\tif (i == %d) { static int n; n += %d; return n; }\n", i, i+1)
			}
			b.WriteString("\treturn 0;\n}\nint main(void) { int c; while (scanf(\"%d\", &c) == 1) printf(\"%d\\n\", get(c)); }\n")
			return b.String()
		}
		base, fixed := open(t, compile(t, source(""), "-O1")), open(t, compile(t, source("\tif (i < 0) return 0;\n"), "-O1"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		compareImages(t, base, fixed)
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	const few, times = 200, 4
	if x, y := allocated(few), allocated(few*times); y > 2*times*x {
		t.Errorf("%d allocations for %d variables, %d for %d", x, few, y, few*times)
	}
}
