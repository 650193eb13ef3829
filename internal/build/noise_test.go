package build_test

import (
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
}

// Digests, dates and versions that a program compares with are no stamps of its
// build.
func TestStringThatOnlyLooksLikeAStampIsAChange(t *testing.T) {
	for _, flag := range []string{"-DKEY", "-DDATE", "-DLEAST"} {
		base, fixed := compile(t, "revoked.c", style{flags: []string{"-g", flag}})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil || states(r)["allowed"] != "changed" {
			t.Errorf("%s: %s: %v", flag, r.Verdict, states(r))
		}
	}
}
