package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// As in libxfont: only changed functions use a table, and lining up their
// instructions gives two answers, for one of them used another table before.
const settledSource = `
#define KEEP __attribute__((noinline, noclone, used))
static int before[4] = {11, 12, 13, 14};
static int table[4] = {TABLE};
static int other[4] = {OTHER};
static int after[4] = {91, 92, 93, 94};
KEEP int one(int n) { before[n & 3] += n; return before[1]; }
KEEP int two(int n) { after[n & 3] -= n; return after[2] * 3; }
KEEP int three(int n) { return before[n & 1] * after[n & 2]; }
KEEP int four(int n) { for (int i = 0; i < n; i++) n ^= n >> 3; if (n > FOUR) return USED[n & 3] + 3; return two(n) | 5; }
KEEP int five(int n) { if (n > FIVE) return table[n & 3] * 7; n = one(n) / 3; return three(n) % 17 - n; }
int main(int n, char **v) { (void)v; n += one(n) + two(n) + three(n) + four(n) + five(n); other[n & 3]++; return n + other[1] + MAIN; }
`

func TestDisagreementIsSettledOnlyByContentThatNoOtherPlaceHas(t *testing.T) {
	source := func(table, other, used string, n string) string {
		return strings.NewReplacer("TABLE", table, "OTHER", other, "USED", used, "FOUR", "1"+n, "FIVE", "2"+n, "MAIN", "3"+n).Replace(settledSource)
	}
	for _, c := range []struct {
		name               string
		table, other, next string // next: the content of table in the fixed program
		settled            bool
	}{
		{"another content", "1, 2, 3, 4", "5, 6, 7, 8", "1, 2, 3, 4", true},
		{"the same content", "1, 2, 3, 4", "1, 2, 3, 4", "1, 2, 3, 4", false},
		{"a content that changed", "1, 2, 3, 4", "5, 6, 7, 8", "1, 2, 3, 5", false},
		{"only zeros", "0, 0, 0, 0", "0, 0, 0, 0", "0, 0, 0, 0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			flags := []string{"-fno-toplevel-reorder", "-fno-section-anchors"}
			base := compile(t, source(c.table, c.other, "other", "1"), flags...)
			fixed := compile(t, source(c.next, c.other, "table", "2"), flags...)
			d := compare(t, strip(t, base), strip(t, fixed))
			truth := open(t, base)
			from, to := variableAt(t, truth, "table"), variableAt(t, open(t, fixed), "table")
			b := d.Map(to)
			if b.OK() != c.settled || b.OK() && (b.Base != from || b.How != diff.Interpolated || !strings.Contains(b.Why, "initial content")) {
				t.Errorf("table at %#x is bound to %#x (%d: %s), want %#x, settled %v", to, b.Base, b.How, b.Why, from, c.settled)
			}
			if !b.OK() && !strings.Contains(b.Why, "disagree") {
				t.Errorf("refused because of %q", b.Why)
			}
		})
	}
}

func variableAt(t *testing.T, m *image.Image, name string) image.Addr {
	t.Helper()
	for _, s := range m.Symbols {
		if s.Name == name {
			return s.Addr
		}
	}
	t.Fatalf("no symbol %s", name)
	return 0
}

// An array that is known by one of its elements alone moves because of a new one
// before it. What is before both fills the room of the first elements with the
// same zeros, if one thinks so; that proves nothing.
func TestArrayThatMovedIsNotANewOne(t *testing.T) {
	source := func(fresh, uses string) string {
		return strings.NewReplacer("FRESH", fresh, "USES", uses).Replace(`
#define KEEP __attribute__((noinline, noclone, used))
static long low[4] = {1, 2, 3, 4};
FRESH
static int array[20] __attribute__((section(".data")));
static int last = 3;
KEEP long *lows(int n) { low[n & 3] += n * 7; return low; }
KEEP int eighth(int n) { n ^= n >> 4; return array[8] += n * 11; }
KEEP int lasts(int n) { n ^= n >> 5; return last += n * 13; }
KEEP int user(int n) { if (n & 1) n *= 3; USES return n + 1; }
int main(int n, char **v) { (void)v; return *lows(n) + eighth(n) + lasts(n) + user(n); }
`)
	}
	flags := []string{"-fno-toplevel-reorder", "-fno-section-anchors"}
	base := compile(t, source("", ""), flags...)
	fixed := compile(t, source("static long fresh[4] __attribute__((section(\".data\"), used));", "for (int i = 0; i < 20; i++) n += array[i];"), flags...)
	d := compare(t, strip(t, base), strip(t, fixed))
	if b := d.Map(variableAt(t, open(t, fixed), "array") + 32); !b.OK() {
		t.Fatalf("the element that has always been used is not found: %s", b.Why)
	}
	from := variableAt(t, open(t, base), "array")
	if b := d.Map(variableAt(t, open(t, fixed), "array")); b.How == diff.NewVariable || b.OK() && b.Base != from {
		t.Errorf("the array is %s at %#x (%s), want %#x or nothing", b.How, b.Base, b.Why, from)
	}
}
