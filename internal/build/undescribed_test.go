package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Where neither unwind data nor symbols describe the code, what looks like a
// reference may be constants among it, so equal ones are passed over. Not so the
// address of a table that has other contents: the fix would be missed.
func TestChangedTableOfCodeThatNothingDescribesIsSeen(t *testing.T) {
	base, fixed := compile(t, "undescribed.c", style{flags: []string{"-fno-asynchronous-unwind-tables"}, strip: true})
	r, b := run(t, base, fixed, build.Options{})
	if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), "no-unwind-data") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
	if r, _ := run(t, base, base, build.Options{}); r.Verdict != patch.Nothing {
		t.Errorf("against itself: %s: %v", r.Verdict, r.Reasons)
	}
}

// The same for what such code reads, and calls, when all of it is code.
func TestChangedUseOfCodeThatNothingDescribesIsSeen(t *testing.T) {
	for _, c := range []struct {
		flag  string
		strip bool
	}{
		{"-DVARIABLE", false}, {"-DVARIABLE", true},
		{"-DCONSTANT", false}, {"-DCONSTANT", true},
		{"-DIMPORT", false}, {"-DIMPORT", true},
	} {
		base, fixed := compile(t, "undescribed-uses.c", style{flags: []string{c.flag}, strip: c.strip})
		r, b := run(t, base, fixed, build.Options{})
		if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), "no-unwind-data") {
			t.Errorf("%v: %s: %v", c, r.Verdict, r.Reasons)
		}
	}
}

// What goes on in the middle of a function would go on in its old version, or in
// the middle of the jump.
func TestFunctionIntoWhichUndescribedCodeLeadsIsRefused(t *testing.T) {
	for _, c := range []struct{ flag, code string }{{"-DEARLY", "branch-into-entry"}, {"-DLATE", "no-unwind-data"}} {
		for _, strip := range []bool{false, true} {
			base, fixed := compile(t, "undescribed-enters.c", style{flags: []string{c.flag}, strip: strip})
			r, b := run(t, base, fixed, build.Options{})
			if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), c.code) {
				t.Errorf("%v, stripped %v: %s: %v", c, strip, r.Verdict, r.Reasons)
			}
		}
	}
}
