package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// What a constant says of a buffer that lives, no type does.
func TestBuildTellsOfBuffersOfAnotherSize(t *testing.T) {
	for name, s := range map[string]style{"debugged": debugged, "stripped": stripped} {
		base, fixed := compile(t, "allocation.c", s)
		// Without types the size may be that of a structure as well.
		want, code := patch.Review, "allocation-changed"
		if s.strip {
			want, code = patch.Refused, "layout-changed"
		}
		if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != want || !slices.Contains(codes(r), code) {
			t.Errorf("%s: %s: %v", name, r.Verdict, r.Reasons)
		}
	}
	base, fixed := compile(t, "allocation.c", style{flags: []string{"-g", "-DBOUND"}})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Clean {
		t.Errorf("another bound alone: %s: %v", r.Verdict, r.Reasons)
	}
	// The size of a structure is told once: by its type.
	base, fixed = compile(t, "layout.c", debugged)
	if r, _ := run(t, base, fixed, build.Options{}); slices.Contains(codes(r), "allocation-changed") {
		t.Errorf("a structure: %v", r.Reasons)
	}
}
