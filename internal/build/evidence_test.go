package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// What looks dangerous in stripped images and is not, next to what looks the
// same and is: for each the danger must still be seen.
func TestBuildTellsDangersFromWhatLooksLikeThem(t *testing.T) {
	inOrder := []string{"-fno-toplevel-reorder"}
	for _, c := range []struct {
		name, file string
		flags      []string // of both images
		fixed      []string // of the fixed one only
		verdict    patch.Verdict
		has, lacks string // reasons
	}{
		{"allocations change places", "swapped-sizes.c", nil, nil, patch.Review, "", "layout-changed"},
		{"an allocation grows", "swapped-sizes.c", nil, []string{"-DGROWN"}, patch.Refused, "layout-changed", ""},
		{"a structure on the stack", "on-stack.c", nil, nil, patch.Review, "", "layout-changed"},
		{"a structure that is kept", "on-stack.c", []string{"-DHEAP"}, nil, patch.Refused, "layout-changed", ""},
		{"a walk from a known start", "walk.c", inOrder, nil, patch.Review, "", "end-pointer"},
		{"a walk from somewhere", "walk.c", []string{"-fno-toplevel-reorder", "-DPASSED"}, nil, patch.Refused, "end-pointer", ""},
		{"a walk over numbers from somewhere", "walk-small.c", inOrder, nil, patch.Refused, "end-pointer", ""},
		{"a walk in a function that returns nothing", "walk-void.c", inOrder, nil, patch.Review, "", "end-pointer"},
		{"a walk whose end is returned", "walk-void.c", []string{"-fno-toplevel-reorder", "-DRETURNED"}, nil, patch.Refused, "end-pointer", ""},
		{"a symbol from anywhere", "next.c", []string{"-DDEFAULT"}, nil, patch.Review, "", "reference-unbound"},
		{"the next symbol", "next.c", nil, nil, patch.Refused, "reference-unbound", ""},
		{"the next symbol, without a PLT", "next.c", []string{"-fno-plt"}, nil, patch.Refused, "reference-unbound", ""},
		{"a variable in padding", "padding-variable.c", inOrder, nil, patch.Review, "new-variable", "data-unmapped"},
		{"a variable behind one that is passed on", "padding-variable.c", []string{"-fno-toplevel-reorder", "-DHELD"}, nil, patch.Refused, "data-unmapped", ""},
		{"an array that a pointer into its middle leads to", "pointer-only.c", inOrder, nil, patch.Review, "data-inferred", "new-variable"},
		{"one of zeros", "pointer-only.c", []string{"-fno-toplevel-reorder", "-DZERO"}, nil, patch.Refused, "data-unmapped", "new-variable"},
		{"a constant that is only read", "record.c", nil, nil, patch.Review, "", "table-carried"},
		{"a constant whose address is returned", "record.c", []string{"-DRETURNED"}, nil, patch.Review, "table-carried", ""},
		{"a new variable in the place of one that a pointer leads to", "gap.c", inOrder, nil, patch.Refused, "data-unmapped", ""},
		{"a new variable beside one that only code without a counterpart uses", "twin-beside.c", inOrder, nil, patch.Refused, "data-unmapped", ""},
		{"a sentinel that begins like a string", "sentinel.c", []string{"-O0"}, nil, patch.Review, "table-carried", ""},
		{"a constant whose address is passed on", "record.c", []string{"-DPASSED"}, nil, patch.Review, "table-carried", ""},
		{"a large fix", "large-fix.c", nil, nil, patch.Review, "much-changed", "rebuilt-compiler"},
		{"a large fix of functions that only their places tell apart", "large-fix.c", []string{"-DCHOSEN"}, nil, patch.Refused, "rebuilt-compiler", ""},
		{"another compiler", "large-fix.c", nil, []string{"-O1"}, patch.Refused, "rebuilt-compiler", "much-changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, _ := compile(t, c.file, style{flags: c.flags, strip: true})
			_, fixed := compile(t, c.file, style{flags: append(slices.Clone(c.flags), c.fixed...), strip: true})
			r, _ := run(t, base, fixed, build.Options{})
			got := codes(r)
			if r.Verdict != c.verdict || c.has != "" && !slices.Contains(got, c.has) || c.lacks != "" && slices.Contains(got, c.lacks) {
				t.Errorf("verdict %s, want %s with %q, without %q: %v", r.Verdict, c.verdict, c.has, c.lacks, r.Reasons)
			}
		})
	}
}
