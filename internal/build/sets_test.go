package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A linker set is gone over from its start to its end in one place: in the base
// image when it is the same, or in a copy that is carried whole. One that the
// program may have written to and that grew is refused.
func TestLinkerSetsAreOneTable(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		carried bool
		refused bool
	}{
		{nil, false, false},
		{[]string{"-DCHANGED"}, false, false},
		{[]string{"-DGROWN"}, false, true},
		{[]string{"-DNUMBERS"}, false, false},
		{[]string{"-DNUMBERS", "-DCHANGED"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN"}, true, false},
		{[]string{"-DGROWN", "-DALONE"}, false, true},
		{[]string{"-DNUMBERS", "-DCHANGED", "-DALONE"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN", "-DALONE"}, true, false},
		{[]string{"-DNUMBERS", "-DGROWN", "-DALONE", "-O0"}, true, false},
	} {
		for _, bare := range []bool{false, true} {
			base, fixed := compile(t, "set.c", style{flags: c.flags})
			scan := symbol(t, fixed, "scan")
			was, is := place{false, sectionStart(t, base, "entries")}, place{true, sectionStart(t, fixed, "entries")}
			size := symbol(t, fixed, "__stop_entries").Value - is.addr
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, b := run(t, base, fixed, build.Options{})
			if c.refused {
				if r.Verdict != patch.Refused || !slices.Contains(codes(r), "end-pointer") {
					t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				}
				continue
			}
			if b == nil {
				t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				continue
			}
			want := []place{was, {false, was.addr + size}}
			if c.carried {
				want = []place{is, {true, is.addr + size}}
			}
			if got := taken(t, b.Objects[0], scan.Value, scan.Size); !slices.Equal(got, want) {
				t.Errorf("%v, stripped %v: it goes over %v, want %v", c.flags, bare, got, want)
			}
		}
	}
}
