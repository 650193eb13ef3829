package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// New code finds in a variable, and in objects on the heap, the bits that old code
// left there. Where it would read them as something else, that is no clean hotpatch.
func TestBitsThatNewCodeWouldMisreadAreNotTakenOver(t *testing.T) {
	for _, c := range []struct {
		was, is string
		verdict patch.Verdict
		reasons []string
	}{
		{"INT", "FLOAT", patch.Refused, []string{"layout-changed"}},
		{"NODE", "NODES", patch.Refused, []string{"layout-changed"}},
		{"TEXT", "BUFFER", patch.Refused, []string{"layout-changed"}},
		{"NODE", "BUFFER", patch.Refused, []string{"layout-changed"}},
		{"INTS", "SHORTS", patch.Review, []string{"layout-padding"}},
		{"ONE", "TWO", patch.Review, []string{"layout-padding"}},
		{"LONG", "NODE", patch.Review, []string{"layout-padding"}},
		{"DEEP_INT", "DEEP_FLOAT", patch.Review, []string{"layout-padding"}},
		{"SECONDS", "MILLIS", patch.Review, []string{"layout-padding"}},
		{"MODE", "LEVEL", patch.Review, []string{"layout-padding"}},
		{"FROM_SECONDS", "FROM_MILLIS", patch.Review, []string{"layout-padding"}},
		{"MODE", "INT", patch.Clean, nil},
		{"UNSIGNED", "LONG", patch.Clean, nil},
		{"ANY", "BUFFER", patch.Clean, nil},
	} {
		for _, which := range []string{"-DVARIABLE", "-DMEMBER"} {
			base, fixed := compile(t, "reading.c", style{flags: []string{"-g", "-DWAS=" + c.was, "-DIS=" + c.is, which}})
			r, _ := run(t, base, fixed, build.Options{})
			if r.Verdict != c.verdict || !slices.Equal(codes(r), c.reasons) {
				t.Errorf("%s %s to %s: %s: %v", which, c.was, c.is, r.Verdict, r.Reasons)
			}
		}
	}
}
