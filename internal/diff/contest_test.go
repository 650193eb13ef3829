package diff_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// Functions of which no two have the same code, each with one variable.
const users = `
KEEP int use_a(int n) { A += n * 3; return A ^ n; }
KEEP int use_b(int n) { B -= n * 5; return B | n; }
KEEP int use_c(int n) { C ^= n * 7; return C & n; }
KEEP int use_d(int n) { D += n * 11; return D % 13; }
KEEP int too(int n) { E ^= n * 17; return E + 23 * n; }
int main(int argc, char **argv) {
	(void)argv;
	return use_a(argc) + use_b(argc) + use_c(argc) + use_d(argc) + too(argc);
}
`

// contested compares stripped programs of the given variables and of users, in
// which words of the base program stand for others in the fixed one.
type contested struct {
	d     *diff.Diff
	names [2]map[string]bool
	paths [2]string
	funcs map[string]*diff.Func
}

func contest(t *testing.T, base, fixed string) *contested {
	t.Helper()
	c := &contested{}
	for i, s := range []string{base, fixed} {
		c.paths[i] = compile(t, head+s, "-fno-toplevel-reorder")
	}
	c.d = compare(t, strip(t, c.paths[0]), strip(t, c.paths[1]))
	c.funcs = funcs(t, c.paths[1], c.d)
	return c
}

func with(variables string, is ...string) string {
	letters := []string{"A", "va", "B", "vb", "C", "vc", "D", "vd", "E", "va"}
	words := map[string]string{}
	for i := 0; i < len(letters); i += 2 {
		words[letters[i]] = letters[i+1]
	}
	for i := 0; i < len(is); i += 2 {
		words[is[i]] = is[i+1]
	}
	var r []string
	for _, l := range []string{"A", "B", "C", "D", "E"} {
		r = append(r, l+" ", words[l]+" ")
		delete(words, l)
	}
	for _, w := range slices.Sorted(maps.Keys(words)) { // and other words
		r = append(r, w, words[w])
	}
	return variables + strings.NewReplacer(r...).Replace(users)
}

func (c *contested) state(t *testing.T, name string, want diff.State) {
	t.Helper()
	if f := c.funcs[name]; f == nil {
		t.Errorf("%s is no function of the fixed program", name)
	} else if got, why := c.d.State(f); got != want {
		t.Errorf("%s is %s (%s), want %s", name, got, why, want)
	}
}

// uses says to what the variable that a function uses is bound: a place of the
// base program, "new", or "" for nothing.
func (c *contested) uses(t *testing.T, name, variable, want string) {
	t.Helper()
	f := c.funcs[name]
	if f == nil {
		t.Errorf("%s is no function of the fixed program", name)
		return
	}
	x, y := open(t, c.paths[0]), open(t, c.paths[1])
	found := false
	for k := range f.Refs {
		if r := &f.Refs[k]; !r.Class.Writable() || !strings.HasPrefix(place(y, r.Target), variable+"+") {
			continue
		}
		found = true
		b := c.d.Bind(f, k)
		got := ""
		switch {
		case b.OK():
			got, _, _ = strings.Cut(place(x, b.Base), "+0")
		case b.How == diff.NewVariable:
			got = "new"
		}
		if got != want {
			t.Errorf("%s in %s is bound to %q (%s: %s), want %q", variable, name, got, b.How, b.Why, want)
		}
	}
	if !found {
		t.Errorf("%s does not use %s", name, variable)
	}
}

const variables = `
static int va = 1, vb = 2, vc = 3, vd = 4;
struct rec { int first, second, third, fourth; };
static struct rec r = {5, 6, 7, 8};
KEEP int length(void) { return r.first + r.fourth; }
`

func TestFunctionThatUsesAnotherVariableIsChanged(t *testing.T) {
	// One function uses it alone, another says where it is: one against one.
	c := contest(t, with(variables), with(variables, "D", "vc"))
	c.state(t, "use_d", diff.Changed)
	c.state(t, "use_c", diff.Same)
	c.uses(t, "use_d", "vc", "vc")
	c.uses(t, "use_c", "vc", "vc")

	// What it used is used by others, and nothing used what it uses.
	c = contest(t, with(variables), with(variables, "E", "r.second"))
	c.state(t, "too", diff.Changed)
	c.state(t, "use_a", diff.Same)
	c.uses(t, "too", "r", "")
	c.uses(t, "use_a", "va", "va")

	// Nothing else refers to either, but what is around them stayed.
	c = contest(t, with(variables), with(variables, "B", "r.third"))
	c.state(t, "use_b", diff.Changed)
	c.uses(t, "use_b", "r", "")

	// The majority uses another variable now; order tells who did.
	c = contest(t, with(variables, "B", "vc", "D", "vc"), with(variables, "B", "vd", "D", "vd", "E", "vd", "A", "vc"))
	for _, f := range []string{"use_a", "use_b", "use_d", "too"} {
		c.state(t, f, diff.Changed)
	}
	c.uses(t, "use_c", "vc", "vc")
}

func TestVariableThatMovedIntoPaddingIsFound(t *testing.T) {
	// A new variable before others, and padding behind them takes up the room.
	const before = `
static long va = 1;
static int vb = 2, vc = 3, vd = 4;
static long end __attribute__((aligned(16))) = 5;
KEEP long the_end(long n) { end += n; printf("%ld\n", end * 43 - n); return end * 3; }
`
	after := strings.Replace(before, "vb = 2", "fresh = 9, vb = 2", 1)
	c := contest(t, with(before), with(after)+"KEEP int use_fresh(int n) { fresh += n * 31; return fresh * n; }\n")
	for _, f := range []string{"use_a", "use_b", "use_c", "use_d", "the_end"} {
		c.state(t, f, diff.Same)
	}
	for f, v := range map[string]string{"use_b": "vb", "use_c": "vc", "use_d": "vd", "the_end": "end"} { // else it proves nothing
		c.uses(t, f, v, v)
	}
	// Nobody may take the new one for what was in its place.
	b := c.d.Map(symbolOf(t, c.paths[1], "fresh"))
	if b.OK() {
		t.Errorf("the new variable is bound to %s: %s", place(open(t, c.paths[0]), b.Base), b.Why)
	}
}

func TestEndOfArrayIsNotTheVariableBehindIt(t *testing.T) {
	const source = `
static int va = 1, vb = 2, vc = 3, vd = 4;
static int array[8] = {1, 2, 3, 4, 5, 6, 7, 8};
NEW
static int behind[8] = {9, 9};
KEEP int sum(int *p) { __asm__ volatile("" : "+r"(p)); int s = 0; for (; p < END; p++) s += *p * 3; return s; }
KEEP int start(void) { return sum(array); }
KEEP int last(int n) { behind[0] += n; printf("%d\n", behind[0] - n); return behind[0] * 37; }
`
	base := strings.NewReplacer("NEW", "", "END", "array + 8").Replace(source)
	fixed := strings.NewReplacer("NEW", "static int fresh[8] = {6, 6};\nKEEP int newer(int n) { fresh[0] -= n * 41; printf(\"%d\", n); return fresh[0]; }\n", "END", "array + 8").Replace(source)
	c := contest(t, with(base), with(fixed))
	c.state(t, "sum", diff.Same)
	c.state(t, "last", diff.Same)
	c.uses(t, "last", "behind", "behind")
	f := c.funcs["newer"]
	for k := range f.Refs {
		if f.Refs[k].Class.Writable() {
			if b := c.d.Bind(f, k); b.OK() {
				t.Errorf("the new array is bound to %s by %s: %s", place(open(t, c.paths[0]), b.Base), b.How, b.Why)
			}
		}
	}
}

func TestVariableInThePlaceOfAnotherIsNotThat(t *testing.T) {
	// vb goes and fresh comes, of one size and in one place; changed code uses it.
	const before = `
static int va = 1, vb = 2, vc = 3, vd = 4;
`
	after := strings.Replace(before, "vb = 2", "fresh = 9", 1)
	c := contest(t, with(before), with(after, "B", "fresh", "n * 5", "n * 6"))
	d := c.d.Map(symbolOf(t, c.paths[1], "fresh"))
	if d.OK() {
		t.Errorf("fresh is bound to %s by %s: %s", place(open(t, c.paths[0]), d.Base), d.How, d.Why)
	}

	// A variable that is zero now is another one, when the old one is still there.
	const zero = `
static int va = 1, vb = 2, vc = 3, vd = 4;
static int vz;
KEEP int use_z(int n) { vz += n * 53; return vz ^ (n * 3); }
`
	c = contest(t, with(zero, "B", "va"), with(strings.Replace(zero, "vz;", "vy, vz;", 1), "A", "vy", "B", "vy"))
	for _, f := range []string{"use_a", "use_b"} {
		c.state(t, f, diff.Changed)
	}
	c.state(t, "too", diff.Same)
}

func TestVariableIsFollowedThroughFunctionsThatComeAndGo(t *testing.T) {
	base := with(variables)
	inner := "KEEP int inner(int n) { vb -= n * 5; return vb | n; }\nKEEP int use_b(int n) { return inner(n) + 3; }"
	outer := "KEEP int use_b(int n) { vb -= n * 5; return vb | n; }"
	if !strings.Contains(base, outer) {
		t.Fatal("use_b is not what it was")
	}
	fresh := strings.NewReplacer("vb = 2", "fresh = 2", "vb -= n * 5; return vb | n;", "n -= 5; return n | 3;",
		"return va + 23 * n;", "fresh += n * 7; return va + 23 * n;").Replace(base)
	split := strings.Replace(base, outer, inner, 1)
	joined := strings.Replace(base, outer, "KEEP int use_b(int n) { n += 7; for (int i = 0; i < n; i++) printf(\"%d\\n\", vb); vb = n * 9; return vb | n; }", 1)
	for _, x := range []struct{ name, base, fixed, variable, want string }{
		{"another takes its place", base, fresh, "fresh", ""},
		{"its user is split", joined, split, "vb", "vb"},
		{"its user goes into another", split, joined, "vb", "vb"},
	} {
		c := contest(t, x.base, x.fixed)
		b := c.d.Map(symbolOf(t, c.paths[1], x.variable))
		got := ""
		if b.OK() {
			got, _, _ = strings.Cut(place(open(t, c.paths[0]), b.Base), "+0")
		}
		if got != x.want {
			t.Errorf("%s: %s is bound to %q (%s: %s), want %q", x.name, x.variable, got, b.How, b.Why, x.want)
		} else {
			t.Logf("%s: %s: %s", x.name, b.How, b.Why)
		}
	}
}

func TestVariableThatTwoPlacesAreTakenForIsNeither(t *testing.T) {
	const source = `
static int va = 1, vb = 2, vc = 3, vd = 4;
NEW
static long last = 7;
static long end[3] = {5, 6, 7};
KEEP long the_end(long n) { end[0] += n; printf("%ld\n", end[0] * 43 - n); return end[0] * 3; }
KEEP long put(long n) { printf("%ld\n", n * 61); FIRST = n; return n * 37 MORE; }
KEEP long get(long n) { last += n * 67; printf("%ld\n", n MORE); return last / 3; }
`
	c := contest(t, with(strings.NewReplacer("NEW", "", "FIRST", "last", "MORE", "").Replace(source)),
		with(strings.NewReplacer("NEW", "static long first = 7;", "FIRST", "first", "MORE", "+ 1").Replace(source)))
	c.state(t, "put", diff.Changed)
	c.state(t, "get", diff.Changed)
	bound := map[string]string{}
	for _, n := range []string{"first", "last"} {
		b := c.d.Map(symbolOf(t, c.paths[1], n))
		if b.OK() {
			bound[n], _, _ = strings.Cut(place(open(t, c.paths[0]), b.Base), "+0")
		}
		t.Logf("%s: %s %s", n, b.How, b.Why)
	}
	if bound["first"] != "" || bound["last"] != "" && bound["last"] != "last" {
		t.Errorf("bound are %v", bound)
	}
}

// The aligned instructions of one function may be wrong; where something certain
// lies in between, they do not speak against those of another.
func TestRivalThatIsOutOfOrderIsNone(t *testing.T) {
	const source = `
static int va = 1, vb = 2;
static long first = 7;
static int vc = 3, vd = 4;
static long last = 9;
KEEP long one(long n) { printf("%ld\n", n * 61); first = n; return n * 37 MORE; }
KEEP long two(long n) { printf("%ld\n", n MORE); OTHER += n * 67; return n / 3; }
KEEP long three(long n) { last ^= n * 71 MORE; printf("%ld!\n", n); return n * 5; }
`
	c := contest(t, with(strings.NewReplacer("OTHER", "first", "MORE", "").Replace(source)),
		with(strings.NewReplacer("OTHER", "last", "MORE", "+ 1").Replace(source)))
	for _, n := range []string{"first", "last"} {
		b := c.d.Map(symbolOf(t, c.paths[1], n))
		if got := place(open(t, c.paths[0]), b.Base); !b.OK() || got != n+"+0" && got != n {
			t.Errorf("%s is bound to %s by %s: %s", n, got, b.How, b.Why)
		}
	}
}

func TestPointerToDataIsNotThePointerToCodeInItsPlace(t *testing.T) {
	const source = `
static int va = 1, vb = 2, vc = 3, vd = 4;
typedef int (*fn)(int);
KEEP int use_d(int n);
static int target = 8;
static long before = 9;
static POINTER;
static long behind = 10;
KEEP long use_before(long n) { before += n * 71; printf("%ld\n", before); return before; }
KEEP long use_behind(long n) { behind -= n * 73; printf("%ld\n", behind); return behind * 5; }
KEEP int call(int n) { CALL; }
`
	c := contest(t, with(strings.NewReplacer("POINTER", "fn pointer = use_d", "CALL", "return pointer ? pointer(n) : 7").Replace(source)),
		with(strings.NewReplacer("POINTER", "int *other = &target", "CALL", "other += n; return n").Replace(source)))
	if b := c.d.Map(symbolOf(t, c.paths[1], "other")); b.OK() {
		t.Errorf("other is bound to %s by %s: %s", place(open(t, c.paths[0]), b.Base), b.How, b.Why)
	}
}

func TestVariableThatGrewIsNotBoundWithoutSymbols(t *testing.T) {
	const source = `
static int va = 1, vb = 2, vc = 3, vd = 4;
static char text[SIZE];
KEEP int copy(const char *s) { snprintf(text, sizeof text, "%s+%d", s, va); return (int)strlen(text) MORE; }
`
	for _, x := range []struct {
		size  string
		bound bool
	}{{"16", true}, {"64", false}} {
		c := contest(t, with(strings.NewReplacer("SIZE", "16", "MORE", "").Replace(source)),
			with(strings.NewReplacer("SIZE", x.size, "MORE", "* 3 - 1").Replace(source)))
		b := c.d.Map(symbolOf(t, c.paths[1], "text"))
		if b.OK() != x.bound {
			t.Errorf("%s bytes: bound to %#x (%s: %s)", x.size, uint64(b.Base), b.How, b.Why)
		}
	}
}

// A new variable takes the place of the first of three twins, and each of these
// the place of the next. Their functions are paired by order alone, but that is
// enough to doubt that the new one is the first.
func TestNewVariableIsNotTheTwinInWhosePlaceItStands(t *testing.T) {
	source := func(fresh, use string) string {
		return strings.NewReplacer("FRESH", fresh, "USE", use).Replace(`
static int va = 1, vb = 2, vc = 3, vd = 4, ve = 5, vf = 6;
static int lead = 7;
FRESH
static int one = 8, two = 9;
static long rest __attribute__((aligned(16))) = 3;
KEEP int leads(int n) { n ^= n >> 3; return lead += n * 5; }
KEEP long rests(long n) { n ^= n >> 5; return rest += n * 7; }
KEEP int get_one(void) { return one; }
KEEP int set_one(int n) { return one = n; }
KEEP int get_two(void) { return two; }
KEEP int set_two(int n) { return two = n; }
KEEP int user(int n) { if (n & 8) n = leads(n) * 3 + one; USE return (int)rests(n) + 1; }
`)
	}
	c := contest(t, with(source("", "")), with(source("static int fresh = 8;", "fresh += n; n ^= fresh;")))
	one, fresh := symbolOf(t, c.paths[0], "one"), symbolOf(t, c.paths[1], "fresh")
	if one != fresh || symbolOf(t, c.paths[0], "rest") != symbolOf(t, c.paths[1], "rest") {
		t.Fatalf("one is at %#x, fresh at %#x: nothing to test", one, fresh)
	}
	if b := c.d.Map(fresh); b.OK() {
		t.Errorf("the new variable is bound to %s: %s", place(open(t, c.paths[0]), b.Base), b.Why)
	}
}
