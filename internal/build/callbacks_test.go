package build_test

import (
	"context"
	"slices"
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
