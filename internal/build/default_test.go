package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
)

// New code finds the string that the program compares with and does not free, not a
// copy of it; where several have its content, that is told of.
func TestStringThatProgramsCompareWithIsTheirs(t *testing.T) {
	for _, c := range []struct {
		flags []string
		told  bool
	}{{nil, false}, {[]string{"-DTWICE"}, true}} {
		base, fixed := compile(t, "default.c", style{flags: c.flags})
		was, is, release := symbol(t, base, "standard"), symbol(t, fixed, "standard"), symbol(t, fixed, "release")
		r, b := run(t, strip(t, base), strip(t, fixed), build.Options{})
		if b == nil || slices.Contains(codes(r), "table-carried") != c.told {
			t.Errorf("%v: %s: %v", c.flags, r.Verdict, r.Reasons)
			continue
		}
		got := taken(t, b.Objects[0], release.Value, release.Size)
		if !c.told && (!slices.Contains(got, place{false, was.Value}) || slices.Contains(got, place{true, is.Value})) {
			t.Errorf("%v: it takes %v, want %#x of the base image", c.flags, got, was.Value)
		}
	}
}
