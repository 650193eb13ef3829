package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// What is refused, whatever else the build finds, and why.
func refused(t *testing.T, r *build.Report, code, words string) {
	t.Helper()
	if r.Verdict != patch.Refused {
		t.Errorf("verdict %s, want refused: %v", r.Verdict, r.Reasons)
		return
	}
	for _, x := range r.Reasons {
		if x.Code == code && strings.Contains(x.Detail, words) {
			return
		}
	}
	t.Errorf("no reason %s: ...%s...: %v", code, words, r.Reasons)
}

// New code may write a table that was constant before; and two variables need two
// places.
func TestVariablesAreNotBoundToConstantsNorTwoToOne(t *testing.T) {
	for _, c := range []struct{ define, words string }{
		{"-DTABLE", "it can be written, and what it was in the base image"},
		{"-DOPS", "it can be written, and what it was in the base image"},
		{"-DSPLIT", "were one, and are two now"},
		{"-DJOIN", "were two, and are one now"},
	} {
		base, fixed := compile(t, "kept-apart.c", style{flags: []string{"-g", c.define}})
		r, _ := run(t, base, fixed, build.Options{})
		refused(t, r, "data-unmapped", c.words)
		r, _ = run(t, strip(t, base), strip(t, fixed), build.Options{})
		if r.Verdict == patch.Clean { // a copy of the constant may be carried as a new variable
			t.Errorf("%s, stripped: verdict %s: %v", c.define, r.Verdict, r.Reasons)
		}
	}
}

// Numbers that are distances from the global offset table are no references: the
// medium and large code models are refused by name.
func TestDistancesFromTheGlobalOffsetTableAreRefused(t *testing.T) {
	for _, model := range [][]string{{"-mcmodel=large"}, {"-mcmodel=medium", "-mlarge-data-threshold=8"}} {
		base, fixed := compile(t, "far.c", style{flags: append([]string{"-g", "-shared", "-fPIC"}, model...)})
		for _, bare := range []bool{false, true} {
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, _ := run(t, base, fixed, build.Options{})
			refused(t, r, "reference-unbound", "-mcmodel=medium or large")
		}
	}
	base, fixed := compile(t, "far.c", style{flags: []string{"-g", "-shared", "-fPIC"}})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Clean {
		t.Errorf("of the small model: verdict %s: %v", r.Verdict, r.Reasons)
	}
}

// A new variable gets the alignment that it has in the fixed image, or is refused.
func TestNewVariablesAreAligned(t *testing.T) {
	base, fixed := compile(t, "aligned.c", style{flags: []string{"-g", "-DPAGE=4096"}})
	r, b := run(t, base, fixed, build.Options{})
	if b == nil {
		t.Fatalf("%s: %v", r.Verdict, r.Reasons)
	}
	o := b.Objects[0]
	k := slices.IndexFunc(o.Symbols, func(y patch.Symbol) bool { return y.Name == "new:page" })
	if k < 0 || o.Symbols[k].Value%4096 != 0 || o.Lo%4096 != 0 {
		t.Errorf("page is not at the start of a page: %v", o.Symbols)
	}
	base, fixed = compile(t, "aligned.c", style{flags: []string{"-g", "-DPAGE=16384"}})
	r, _ = run(t, base, fixed, build.Options{})
	refused(t, r, "data-unmapped", "more than a page")
}

// What a note of the program holds is compared where code reads it.
func TestNotesThatCodeReadsAreCompared(t *testing.T) {
	base, fixed := compile(t, "aligned.c", debugged)
	if r, _ := run(t, base, fixed, build.Options{}); states(r)["work"] != "changed" || r.Verdict != patch.Clean {
		t.Errorf("%s: %v: %v", r.Verdict, states(r), r.Reasons)
	}
}
