package build_test

import (
	"fmt"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

func TestOnlyAFunctionThatActsAsBeforeIsIndependent(t *testing.T) {
	for how, tc := range []struct {
		what string
		want patch.Mode
	}{
		1:  {"a check is added", patch.Independent},
		2:  {"it takes another lock", patch.Strict},
		3:  {"it makes a call more", patch.Strict},
		4:  {"it calls another function", patch.Strict},
		5:  {"an operation is atomic no more", patch.Strict},
		6:  {"it brings a variable", patch.Strict},
		7:  {"it uses another variable", patch.Strict},
		8:  {"another function changes, too", patch.Strict},
		9:  {"it takes the same locks in another order", patch.Strict},
		10: {"those of an object, by way of a function", patch.Strict},
		11: {"what takes no lock has another place", patch.Independent},
		12: {"two locks, by way of a function that has a pointer to what takes them", patch.Strict},
		13: {"two locks that it is handed", patch.Strict},
		14: {"two locks that variables point to", patch.Strict},
		15: {"two locks that objects point to", patch.Strict},
		16: {"two locks with numbers", patch.Strict},
		17: {"two locks of one object with numbers", patch.Strict},
		18: {"two locks that it keeps in its frame", patch.Strict},
		19: {"two files that it locks", patch.Strict},
		20: {"what called it is gone", patch.Strict},
		21: {"it calls itself", patch.Strict},
		22: {"it takes the locks of an array from the other end", patch.Strict},
		23: {"those of a list", patch.Strict},
		24: {"it takes one lock in each round", patch.Independent},
		25: {"a function takes the locks of an array from the other end", patch.Strict},
		26: {"it calls the functions of a table in another order", patch.Strict},
		27: {"it calls them as before", patch.Independent},
	} {
		if how == 0 {
			continue
		}
		t.Run(tc.what, func(t *testing.T) {
			styles := map[string]style{"debugged": debugged, "stripped": stripped}
			if how == 21 { // by its name
				styles["exported"] = style{flags: library}
			}
			for name, s := range styles {
				s.flags = append([]string{fmt.Sprintf("-DHOW=%d", how)}, s.flags...)
				base, fixed := compile(t, "independent.c", s)
				r, b := run(t, base, fixed, build.Options{})
				if b == nil && name == "stripped" && tc.want == patch.Strict {
					continue // without names some of these are refused, or not seen
				}
				if b == nil {
					t.Fatalf("%s: %s %+v", name, r.Verdict, r.Reasons)
				}
				if b.Manifest.Mode != tc.want {
					t.Errorf("%s: %s, not %s; %v %v", name, b.Manifest.Mode, tc.want, siteNames(b), codes(r))
				}
			}
		})
	}
}
