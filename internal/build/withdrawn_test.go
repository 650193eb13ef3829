package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Programs that are bound to a name go on calling it when the fixed library exports
// it no more.
func TestNameThatTheFixDoesNotExportIsTold(t *testing.T) {
	for _, c := range []struct {
		flag    string
		verdict patch.Verdict
		reason  string
	}{
		{"-DPRIVATE", patch.Refused, "export-moved"},
		{"-DPUBLIC", patch.Review, "export-gone"},
		{"-DALONE", patch.Review, "export-gone"},
		{"-DKEPT", patch.Review, "export-gone"},
		{"-DWEAK", patch.Clean, ""},
		{"-DNONE", patch.Clean, ""},
	} {
		for _, strip := range []bool{false, true} {
			base, fixed := compile(t, "withdrawn.c", style{flags: slices.Concat(library, []string{c.flag}), strip: strip})
			r, _ := run(t, base, fixed, build.Options{})
			want := c.verdict
			if strip && want == patch.Clean {
				want = patch.Review // for want of types
			}
			told := slices.ContainsFunc(r.Reasons, func(x patch.Reason) bool { return x.Code == c.reason && x.Function == "write_old" })
			if r.Verdict != want || told != (c.reason != "") {
				t.Errorf("%s, stripped %v: %s: %v", c.flag, strip, r.Verdict, r.Reasons)
			}
		}
	}
}
