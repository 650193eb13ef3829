package build_test

import (
	"cmp"
	"testing"

	"hotpatch/internal/build"
)

// Constants that moved alike are line numbers where the name of a source file goes
// with them, and no two functions have the same.
func TestLimitIsNotTakenForALineNumber(t *testing.T) {
	for _, c := range []struct {
		flags []string
		main  string
	}{
		{[]string{"-DNAMED"}, "noise"},
		{nil, "changed"},
		{[]string{"-DLIMIT"}, "changed"},
		{[]string{"-DLIMIT", "-DNAMED"}, "changed"},
	} {
		base, fixed := compile(t, "line-or-limit.c", style{flags: append([]string{"-g"}, c.flags...)})
		r, _ := run(t, base, fixed, build.Options{})
		if s := states(r); s["main"] != c.main || s["report"] != "changed" {
			t.Errorf("%v: %v, want main %s", c.flags, s, c.main)
		}
	}
	for flag, want := range map[string]string{"": "noise", "-DSIZE": "changed", "-DONLYSIZE": "changed", "-DUNLIKE": "changed", "-DPLACES": "changed"} {
		base, fixed := compile(t, "size-or-line.c", style{flags: []string{"-g", cmp.Or(flag, "-DLINE")}})
		r, _ := run(t, base, fixed, build.Options{})
		if s := states(r); s["main"] != want || s["helper"] != "changed" {
			t.Errorf("%s: %v, want main %s", flag, s, want)
		}
	}
}

// Digests, dates and versions that a program compares with are no stamps of its
// build.
func TestStringThatOnlyLooksLikeAStampIsAChange(t *testing.T) {
	for _, flag := range []string{"-DKEY", "-DDATE", "-DLEAST", "-DNOTBEFORE", "-DEXPIRES", "-DSERVER", "-DMINIMUM"} {
		base, fixed := compile(t, "revoked.c", style{flags: []string{"-g", flag}})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil || states(r)["allowed"] != "changed" {
			t.Errorf("%s: %s: %v", flag, r.Verdict, states(r))
		}
	}
}

// What __DATE__ and __TIME__ stand for is a stamp where both changed together, and
// no other date did.
func TestDateOfTheBuildIsNoChange(t *testing.T) {
	for flag, want := range map[string]string{"-DBOTH": "noise", "-DONLYDATE": "changed", "-DONLYTIME": "changed", "-DOTHER": "changed"} {
		base, fixed := compile(t, "date-of-build.c", style{flags: []string{"-g", flag}})
		r, _ := run(t, base, fixed, build.Options{})
		if s := states(r); s["version"] != want {
			t.Errorf("%s: %s: %v, want version %s", flag, r.Verdict, s, want)
		}
	}
}
