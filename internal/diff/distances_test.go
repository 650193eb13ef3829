package diff_test

import (
	"fmt"
	"runtime"
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

// behindTable is a table of distances with something else directly behind it, which
// only some versions of it are: what that is, BEHIND says.
const behindTable = keep + aside + `
__asm__(".section .rodata\n.balign 64\n.asciz \"a string in front\"\n"
	"s0: .asciz \"alpha\"\ns1: .asciz \"be\"\ns2: .asciz \"gamma ray\"\n.balign 16\n"
	".hidden names\n.globl names\nnames: .long s0-names, s1-names, s2-names\n"
	".hidden limit\n.globl limit\nlimit: .long " BEHIND "\n"
	".hidden pad\n.globl pad\n.balign 32\npad: .zero 400, 1\n.long " LAST "\n.zero 60\n"
	".globl after\n.hidden after\nafter: .asciz \"after\"\n.text");
extern const int names[3] __attribute__((visibility("hidden")));
extern const int limit __attribute__((visibility("hidden")));
extern const int pad[116] __attribute__((visibility("hidden")));
extern const char after[] __attribute__((visibility("hidden")));
KEEP const char *name(unsigned long i) { return (const char *)names + names[i]; }
#ifdef ACCESSED
KEEP int over(int n) { return n + limit; }
#else
KEEP int over(int n) { return n; }
#endif
KEEP int getpad(unsigned long i) { return pad[i]; }
int main(int n, char **v) { puts(name(n)); puts(after); return over(n) + getpad(n) + aside(n); }`

// A table ends where something starts that code accesses, and it leads to starts:
// a number behind it is no distance because it would lead into some object.
func TestTablesOfDistancesEndWhereSomethingElseStarts(t *testing.T) {
	for _, c := range []struct {
		name, behind string
		accessed     bool
		certain      bool
	}{
		{"a number, which leads into an object", "pad+40-names", true, true},
		{"a number, which leads to a start", "pad-names", true, false},
		{"a number that nobody reads, which leads into an object", "pad+40-names", false, false},
		{"a number that leads nowhere", "0x7000000", false, true},
		{"a string within another", "s2+6-names", false, true},
	} {
		flags := []string{`-DLAST="5"`, `-DBEHIND="` + c.behind + `"`}
		if c.accessed {
			flags = append(flags, "-DACCESSED")
		}
		base, fixed := compile(t, behindTable, flags...), compile(t, behindTable, append(flags, "-DFIXED")...)
		table := symbolOf(t, fixed, "names")
		d := compare(t, strip(t, base), strip(t, fixed))
		want := 3
		if strings.HasPrefix(c.behind, "s2") {
			want = 4
		}
		to, sure, why := d.Distances(table)
		if len(to) != want || !sure || (why == "") != c.certain {
			t.Errorf("%s: %d distances (certain %v), %q", c.name, len(to), sure, why)
		}
		if state, why := d.State(funcs(t, fixed, d)["name"]); state != diff.Same {
			t.Errorf("%s: what reads the table is %v: %s", c.name, state, why)
		}
	}
}

// What seems to be a distance does not cut in two what it leads into; what may be
// one is compared.
func TestWhatDistancesLeadIntoIsComparedWhole(t *testing.T) {
	for _, c := range []struct{ name, behind, changed string }{
		{"a number that is accessed", "pad+40-names", "aside getpad"},
		{"what may be a distance", "pad+40-names", "aside getpad name"},
	} {
		flags := []string{`-DBEHIND="` + c.behind + `"`}
		if !strings.HasSuffix(c.changed, "name") {
			flags = append(flags, "-DACCESSED")
		}
		base := compile(t, behindTable, append(flags, `-DLAST="5"`)...)
		fixed := compile(t, behindTable, append(flags, "-DFIXED", `-DLAST="77"`)...)
		d := compare(t, strip(t, base), strip(t, fixed))
		var got []string
		all := funcs(t, fixed, d)
		for _, n := range []string{"aside", "getpad", "main", "name", "over"} {
			if state, _ := d.State(all[n]); state != diff.Same {
				got = append(got, n)
			}
		}
		if s := strings.Join(got, " "); s != c.changed {
			t.Errorf("%s: changed are %q, want %q", c.name, s, c.changed)
		}
	}
}

// Code that did not change reads as many distances as before, or nobody knows.
func TestOneMoreDistanceWithoutOtherCodeIsUncertain(t *testing.T) {
	base := compile(t, behindTable, `-DLAST="5"`, `-DBEHIND="0x7000000"`)
	fixed := compile(t, behindTable, `-DLAST="5"`, `-DBEHIND="s1-names"`, "-DFIXED")
	d := compare(t, strip(t, base), strip(t, fixed))
	if _, _, why := d.Distances(symbolOf(t, fixed, "names")); why == "" {
		t.Error("the table is taken to be longer than before")
	}
}

// A string merged into the end of another does not end what looks like distances.
func TestDistancesToEndsOfStringsAreCompared(t *testing.T) {
	const source = keep + aside + `
__asm__(".section .rodata\n.balign 4\n.asciz \"a string in front\"\n"
	"s0: .asciz \"alpha\"\ns1: .asciz \"be\"\ns2: .asciz \"delta\"\ns3: .asciz \"" TEXT "\"\n.balign 4\n"
	".globl near\n.hidden near\nnear: .long s0-., s0+2-., s1-., s2-., s3-.\n.long 7, 8, 9, 10, 11, 12, 13\n.text");
extern const int near[5] __attribute__((visibility("hidden")));
KEEP const char *look(const int *t, unsigned long i) { __asm__ volatile("" : "+r"(t)); return (const char *)(t + i) + t[i]; }
KEEP const char *close(unsigned long i) { return look(near, i); }
int main(int n, char **v) { puts(close(n)); return aside(n); }`
	base := compile(t, source, `-DTEXT="gamma ray"`)
	fixed := compile(t, source, "-DFIXED", `-DTEXT="gamma fix"`)
	d := compare(t, strip(t, base), strip(t, fixed))
	if state, _ := d.State(funcs(t, fixed, d)["close"]); state != diff.Changed {
		t.Errorf("what reaches the changed string is %v", state)
	}
}

// Tables within one named object end at each other.
func TestManyTablesOfDistancesInOneObjectTakeLittleMemory(t *testing.T) {
	const n = 3000
	var code strings.Builder
	for i := range n {
		fmt.Fprintf(&code, "lea big+%d(%%rip),%%rcx\\nmovslq (%%rcx,%%rax,4),%%rax\\nadd %%rcx,%%rax\\n", 4*i)
	}
	source := keep + aside + `char huge[0x20000000];
__asm__(".text\n.globl many\n.type many,@function\nmany:\n.cfi_startproc\n` + code.String() + `ret\n.cfi_endproc\n.size many,.-many\n"
	".section .rodata\n.balign 16\n.globl big\n.hidden big\n.type big,@object\nbig: .rept 3000\n.long 0x8000000\n.endr\n.size big,.-big\n.text");
int main(int n, char **v) { return aside(n) + huge[n]; }`
	base, fixed := open(t, compile(t, source)), open(t, compile(t, source, "-DFIXED"))
	var was, is runtime.MemStats
	runtime.ReadMemStats(&was)
	compareImages(t, base, fixed)
	runtime.ReadMemStats(&is)
	if used := (is.TotalAlloc - was.TotalAlloc) >> 20; used > 24 {
		t.Errorf("it took %d MB", used)
	}
}
