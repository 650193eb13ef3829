package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A branch to where its own function ends is never taken (the compiler leaves
// it behind a call that does not come back) and stays as it is; one to other
// code that nothing describes is refused.
func TestBuildKeepsBranchesThatAreNeverTaken(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		verdict patch.Verdict
	}{{nil, patch.Review}, {[]string{"-DELSEWHERE"}, patch.Refused}} {
		base, fixed := compile(t, "nowhere.c", style{flags: c.flags, strip: true})
		r, _ := run(t, base, fixed, build.Options{})
		if r.Verdict != c.verdict || slices.Contains(codes(r), "reference-unbound") != (c.verdict == patch.Refused) {
			t.Errorf("%v: verdict %s, want %s: %v", c.flags, r.Verdict, c.verdict, r.Reasons)
		}
	}
}
