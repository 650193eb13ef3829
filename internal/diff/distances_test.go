package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// spreadTable is a table of 32-bit distances from its own start, as clang and
// rustc make them for a switch that returns strings; gcc makes none.
const spreadTable = keep + aside + `
#ifdef MOVED
#define FRONT "another string in front, longer than the one before"
#else
#define FRONT "a string in front"
#endif
KEEP int one(int n) { return n + 1; }
KEEP int two(int n) { return n + 2; }
KEEP int six(int n) { return n + SIX; }
__asm__(".section .rodata\n.balign 4\n.asciz \"" FRONT "\"\n"
	"s0: .asciz \"alpha\"\ns1: .asciz \"be\"\ns2: .asciz \"" TEXT "\"\n.balign 4\n"
	".type names,@object\nnames: .long s0-names, s1-names, s2-names\n.size names, 12\n"
	".type calls,@object\ncalls: .long " CALLS "-calls\n.size calls, 12\n"
	".type near,@object\nnear: .long s0-., s1-., s2-.\n.size near, 12\n.long 7, 8, 9, 10, 11, 12, 13\n.text");
extern const int names[3] __attribute__((visibility("hidden")));
extern const int calls[3] __attribute__((visibility("hidden")));
extern const int near[3] __attribute__((visibility("hidden")));
KEEP const char *name(unsigned long i) { return (const char *)names + names[i]; }
KEEP int call(unsigned long i) { return ((int (*)(int))((const char *)calls + calls[i]))(5); }
KEEP const char *look(const int *t, unsigned long i) { __asm__ volatile("" : "+r"(t)); return (const char *)(t + i) + t[i]; }
KEEP const char *close(unsigned long i) { return look(near, i); }
int main(int n, char **v) { puts(name(n)); puts(close(n)); return call(n) + aside(n); }`

// What a table of distances says is where it leads to, not its bytes.
func TestTablesOfDistancesAreComparedByWhereTheyLead(t *testing.T) {
	was := []string{`-DTEXT="gamma ray"`, "-DSIX=6", `-DCALLS="one-calls, two-calls, six"`}
	base := compile(t, spreadTable, was...)
	for _, c := range []struct {
		name    string
		is      []string
		changed string
	}{
		// Of what is not seen to be read as distances the bytes count, too.
		{"what it leads to moves", []string{"-DMOVED"}, "aside close"},
		{"a string changes in place", []string{"-UTEXT", `-DTEXT="gamma fix"`}, "aside close name"},
		{"other functions are called", []string{"-UCALLS", `-DCALLS="two-calls, one-calls, six"`}, "aside call"},
		{"a function of the table changes", []string{"-USIX", "-DSIX=8"}, "aside six"},
	} {
		fixed := compile(t, spreadTable, append(append(was, "-DFIXED"), c.is...)...)
		for _, bare := range []bool{false, true} {
			x, y := base, fixed
			if bare {
				x, y = strip(t, base), strip(t, fixed)
			}
			d := compare(t, x, y)
			var got []string
			all := funcs(t, fixed, d)
			for _, n := range []string{"aside", "call", "close", "look", "name", "one", "six", "two"} {
				if state, _ := d.State(all[n]); state != diff.Same {
					got = append(got, n)
				}
			}
			if s := strings.Join(got, " "); s != c.changed {
				t.Errorf("%s, stripped %v: changed are %q, want %q", c.name, bare, s, c.changed)
			}
		}
	}
}
