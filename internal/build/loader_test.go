package build_test

import (
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Where the loader found a name when the program started, it stays: what the fixed
// image defines itself from now on, or defines no more, is not there for carried code;
// nor does dlsym know what the fix exports.
func TestNamesThatTheLoaderFindsElsewhereAreRefused(t *testing.T) {
	for _, c := range []struct{ define, words string }{
		{"-DWEAK", "it uses policy, which the fixed image defines itself"},
		{"-DIMPORT", "it uses strverscmp, which the fixed image defines itself"},
		{"-DNO_MORE", "it uses strverscmp, which the image no longer defines"},
		{"-DTABLE", "it uses strverscmp, which the fixed image defines itself"},
		{"-DASKS", "the name of one that only the fixed image exports: check_v2"},
	} {
		base, fixed := compile(t, "loader.c", style{flags: []string{"-g", "-shared", "-fPIC", c.define}})
		for _, bare := range []bool{false, true} {
			if bare {
				base, fixed = strip(t, base), strip(t, fixed)
			}
			r, _ := run(t, base, fixed, build.Options{})
			refused(t, r, "reference-unbound", c.words)
		}
	}
	base, fixed := compile(t, "loader.c", style{flags: []string{"-g", "-shared", "-fPIC"}})
	if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Clean {
		t.Errorf("of a name that both find alike: verdict %s: %v", r.Verdict, r.Reasons)
	}
}

// Assembler code keeps constants between functions; some look like filler.
func TestConstantBetweenFunctionsIsSeenWhereItLooksLikeFiller(t *testing.T) {
	base, fixed := compile(t, "between.c", style{flags: []string{"-g"}})
	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict == patch.Nothing {
		t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
	}
}
