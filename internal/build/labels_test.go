package build_test

import (
	"debug/elf"
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Carried code that jumps through a table of places in itself never comes back
// into the old function: neither does it use the base image's table, nor does
// its own lead there. Where the table is a variable it is refused.
func TestTablesOfLabelsBelongToTheirCode(t *testing.T) {
	for _, c := range []struct {
		flags   []string
		refused bool
	}{{nil, false}, {[]string{"-DNESTED"}, false}, {[]string{"-DKEPT"}, true}} {
		for _, bare := range []bool{false, true} {
			base, fixed := compile(t, "labels.c", style{flags: c.flags})
			bad := append(objectsNamed(t, base, "places"), symbol(t, base, "interpret"))
			if len(bad) < 2 {
				t.Fatal("there is no table")
			}
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, b := run(t, base, fixed, build.Options{})
			if c.refused {
				if r.Verdict != patch.Refused || !slices.Contains(codes(r), "reference-unbound") {
					t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				}
				continue
			}
			if r.Verdict != patch.Review || !slices.Contains(codes(r), "table-carried") {
				t.Errorf("%v, stripped %v: %s: %v", c.flags, bare, r.Verdict, r.Reasons)
				continue
			}
			for _, s := range b.Objects[0].Symbols {
				for _, x := range bad {
					entry := elf.ST_TYPE(x.Info) == elf.STT_FUNC && s.Value == x.Value
					if s.Kind == patch.Base && !entry && s.Value >= x.Value && s.Value < x.Value+x.Size {
						t.Errorf("%v, stripped %v: something leads to %s+%#x of the base image", c.flags, bare, x.Name, s.Value-x.Value)
					}
				}
			}
		}
	}
}
