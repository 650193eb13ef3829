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
