package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A function that branches back to its own beginning can be redirected while
// nobody is in it; one that others branch into the beginning of cannot.
func TestBranchesIntoTheBytesOfAJump(t *testing.T) {
	for _, c := range []struct {
		name  string
		style style
		want  patch.Verdict
	}{
		{"its own", debugged, patch.Clean},
		{"its own, stripped", stripped, patch.Review},
		{"another's", style{flags: []string{"-g", "-DOTHER"}}, patch.Refused},
		{"another's, stripped", style{flags: []string{"-DOTHER"}, strip: true}, patch.Refused},
	} {
		base, fixed := compile(t, "loop.c", c.style)
		r, b := run(t, base, fixed, build.Options{})
		if r.Verdict != c.want || slices.Contains(codes(r), "branch-into-entry") != (c.want == patch.Refused) {
			t.Errorf("%s: verdict %s, want %s: %v", c.name, r.Verdict, c.want, r.Reasons)
		}
		if b != nil && b.Manifest.Mode != patch.Strict {
			t.Errorf("%s: mode %s", c.name, b.Manifest.Mode)
		}
	}
}
