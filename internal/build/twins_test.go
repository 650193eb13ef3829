package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Of getters and setters with the same code one pair went and another came:
// paired by their order alone some are shifted, and what they say of their
// variables is out of order. Carried code must not call them.
func TestBuildDoesNotBelieveShiftedTwins(t *testing.T) {
	base, fixed := compile(t, "twins-shifted.c", style{flags: []string{"-O2", "-fno-toplevel-reorder"}, strip: true})
	r, b := run(t, base, fixed, build.Options{})
	if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), "data-unmapped") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}
