package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A running program keeps the value that a variable had when it started: whoever
// reviews the fix is told of each that starts with another one.
func TestVariablesThatStartWithAnotherValueAreNamed(t *testing.T) {
	for _, c := range []struct {
		flags    []string
		variable string
		stripped bool // also without symbols
	}{
		{[]string{"-DTABLE"}, "table", true},
		{[]string{"-DTWINS"}, "count.", false},
		{[]string{"-DOPERATIONS"}, "ops", false},
		{[]string{"-DBEHIND"}, "first", true},
		{[]string{"-DCHAIN"}, "last", true},
		{[]string{"-DRENAMED"}, "bounds", true},
		{[]string{"-DTHREAD"}, "level", true},
		{[]string{"-DTHREAD_RENAMED"}, "depth", true},
		{[]string{"-DTHREAD_POINTER"}, "place", false},
		{[]string{"-DTHREAD_LARGE"}, "large", false},
		{[]string{"-DSET"}, "entry_strict", true},
		{[]string{"-DSET", "-fno-toplevel-reorder"}, "section entries", true},
		{[]string{"-DSET", "-fPIC", "-Wl,--no-relax"}, "section entries", false},
	} {
		base, fixed := compile(t, "values.c", style{flags: append(c.flags, "-g")})
		r, _ := run(t, base, fixed, build.Options{})
		if r.Verdict != patch.Review || !slices.Equal(codes(r), []string{"data-init-changed"}) || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0].Detail, c.variable) {
			t.Errorf("%v: %s: %v, want %s", c.flags, r.Verdict, r.Reasons, c.variable)
		}
		if !c.stripped {
			continue
		}
		r, _ = run(t, strip(t, base), strip(t, fixed), build.Options{})
		if !slices.Contains(codes(r), "data-init-changed") {
			t.Errorf("%v, stripped: %s: %v", c.flags, r.Verdict, r.Reasons)
		}
	}
}

// Equal code takes a variable for one of another name: that is its place, but there
// is no more room in it than it had.
func TestVariableThatTookThePlaceOfASmallerOneIsRefused(t *testing.T) {
	base, fixed := compile(t, "values.c", style{flags: []string{"-DOUTGROWN", "-g"}})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Refused || !slices.Contains(codes(r), "layout-changed") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}

// A table of the fixed program has another function where the base program has one
// that went. It may be the same under another name, or not.
func TestFunctionThatReplacesAnotherInATableIsReviewed(t *testing.T) {
	base, fixed := compile(t, "values.c", style{flags: []string{"-DSLOT", "-g"}})
	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict != patch.Review || !slices.Contains(codes(r), "pairing-uncertain") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}
