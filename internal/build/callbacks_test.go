package build_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// TestBuildTellsOfNewCallbacks: the carried code is right, and what lives was
// still made by the old one.
func TestBuildTellsOfNewCallbacks(t *testing.T) {
	t.Parallel()
	for _, s := range []style{debugged, stripped} {
		base, fixed := compile(t, "callbacks.c", s)
		rep, _, err := build.Build(context.Background(), base, fixed, build.Options{})
		if err != nil {
			t.Fatal(err)
		}
		k := slices.IndexFunc(rep.Reasons, func(r patch.Reason) bool { return r.Code == "new-callback" })
		if rep.Verdict != patch.Review || k < 0 {
			t.Fatalf("%s: %v", rep.Verdict, rep.Reasons)
		}
		if r := rep.Reasons[k]; !s.strip && (r.Function != "compile" || !strings.Contains(r.Detail, "check")) {
			t.Errorf("%+v", r)
		}
	}
}

// So it is when the other function, or table, is there already. That it is called,
// passed on or compared with leaves nothing behind.
func TestBuildTellsOfOtherCallbacks(t *testing.T) {
	t.Parallel()
	for which, want := range []string{1: "checked", 2: "careful", 3: "checked", 4: "", 5: "", 6: ""} {
		for _, s := range []style{debugged, stripped, {flags: []string{"-g", "-fPIC", "-shared"}}, {flags: []string{"-g", "-O0"}}} {
			if which == 0 || want == "" && s.strip {
				continue
			}
			s.flags = append(slices.Clone(s.flags), "-DWHICH="+strconv.Itoa(which))
			base, fixed := compile(t, "callbacks_other.c", s)
			rep, _, err := build.Build(context.Background(), base, fixed, build.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Images[0].Functions) == 0 {
				t.Fatalf("%d %v: nothing changed: nothing to test", which, s)
			}
			k := slices.IndexFunc(rep.Reasons, func(r patch.Reason) bool { return r.Code == "new-callback" })
			if (k >= 0) != (want != "") {
				t.Errorf("%d %v: %s: %v", which, s, rep.Verdict, rep.Reasons)
			}
			if k >= 0 && !s.strip && (rep.Reasons[k].Function != "make" || !strings.Contains(rep.Reasons[k].Detail, want)) {
				t.Errorf("%d %v: %+v", which, s, rep.Reasons[k])
			}
		}
	}
}
