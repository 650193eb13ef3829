package build_test

import (
	"debug/elf"
	"slices"
	"strings"
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

// A place inside of a function that is replaced is known to nobody but its code, or the
// pair is refused: what was kept of such places leads into the old code, and who finds
// the way by a table of them does not know the new one.
func TestPlacesInsideOfAFunctionThatOthersKnowAreRefused(t *testing.T) {
	for _, c := range []struct {
		define string
		want   string // "" for none
	}{
		{"-DTHREADED", "may be kept"}, {"-DRESUME", "may be kept"}, {"-DHANDED", "may be kept"}, {"-DRETURNED", "may be kept"},
		{"-DFAULTS", "other code goes by"}, {"-DFAULTS64", "other code goes by"},
		{"-DTOKENS", ""}, {"-DLOCAL", ""},
	} {
		for _, how := range []string{"-O0", "-Os", "-O2"} {
			if how == "-O0" && c.define[:3] == "-DF" {
				continue // a frame lies between
			}
			base, fixed := compile(t, "inside.c", style{flags: []string{"-g", how, c.define}})
			for _, bare := range []bool{false, true} {
				if bare {
					base, fixed = strip(t, base), strip(t, fixed)
				}
				r, _ := run(t, base, fixed, build.Options{})
				k := slices.IndexFunc(r.Reasons, func(x patch.Reason) bool { return x.Code == "places-kept" })
				if c.want == "" && (k >= 0 || r.Verdict == patch.Refused) || c.want != "" && (k < 0 || r.Verdict != patch.Refused || !strings.Contains(r.Reasons[k].Detail, c.want)) {
					t.Errorf("%s %s, stripped %v: %s: %v", c.define, how, bare, r.Verdict, r.Reasons)
				}
			}
		}
	}
}
