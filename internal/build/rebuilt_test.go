package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/rebuild"
)

// As a distribution ships them, and types from a rebuild.
func TestBuildBelievesARebuildAsFarAsItMatches(t *testing.T) {
	for _, c := range []struct {
		name, file string
		flags      []string // that the rebuild adds
		verdict    patch.Verdict
		reason     string // among them
		types      string
	}{
		{"the same", "function.c", nil, patch.Clean, "", "same build-id"},
		{"at other addresses", "function.c", []string{"-Wl,-rpath,/a/path/that/moves/everything/behind"}, patch.Clean, "", "functions match"},
		{"a type that changed", "layout.c", nil, patch.Refused, "layout-changed", "verified"},
		{"a type that changed, at other addresses", "layout.c", []string{"-Wl,-rpath,/a/path/that/moves/everything/behind"}, patch.Refused, "layout-changed", "verified"},
		{"padding that is used", "padding.c", nil, patch.Review, "layout-padding", "verified"},
		{"other code", "function.c", []string{"-O1"}, patch.Review, "layout-unverified", "not verified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, fixed := compile(t, c.file, debugged)
			againBase, againFixed := compile(t, c.file, style{flags: append([]string{"-g"}, c.flags...)})
			base, fixed = strip(t, base), strip(t, fixed)
			dir := t.TempDir()
			for _, x := range [][2]string{{base, againBase}, {fixed, againFixed}} {
				if _, _, err := rebuild.Match(t.Context(), x[0], x[1], dir, rebuild.Origin{}); err != nil {
					t.Fatal(err)
				}
			}
			r, _ := run(t, base, fixed, build.Options{DebugDirs: []string{dir}})
			if r.Verdict != c.verdict || c.reason != "" && !slices.Contains(codes(r), c.reason) {
				t.Errorf("verdict %s, want %s because of %q: %v", r.Verdict, c.verdict, c.reason, r.Reasons)
			}
			text := r.Images[0].Types
			for _, want := range []string{"base: ", "fixed: ", c.types} {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
		})
	}
}

// One function of the rebuild differs, and it is not even one that changed: the
// types are compared, but prove nothing.
func TestBuildNamesWhatARebuildDoesNotMatch(t *testing.T) {
	base, fixed := compile(t, "function.c", debugged)
	again, _ := compile(t, "string.c", debugged)
	base, fixed = strip(t, base), strip(t, fixed)
	dir := t.TempDir()
	e, _, err := rebuild.Match(t.Context(), base, again, dir, rebuild.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if e.Verified || len(e.Unmatched) == 0 {
		t.Fatalf("%s", e)
	}
	r, _ := run(t, base, fixed, build.Options{DebugDirs: []string{dir}})
	if r.Verdict != patch.Review || !slices.Contains(codes(r), "layout-unverified") {
		t.Errorf("types on one side: verdict %s: %v", r.Verdict, r.Reasons)
	}
	_, againFixed := compile(t, "function.c", debugged)
	if _, _, err := rebuild.Match(t.Context(), fixed, againFixed, dir, rebuild.Origin{}); err != nil {
		t.Fatal(err)
	}
	r, _ = run(t, base, fixed, build.Options{DebugDirs: []string{dir}})
	if r.Verdict == patch.Clean || !slices.ContainsFunc(r.Reasons, func(x patch.Reason) bool {
		return x.Code == "layout-unverified" && strings.Contains(x.Detail, e.Unmatched[0].Function)
	}) {
		t.Errorf("types on both sides: verdict %s: %v", r.Verdict, r.Reasons)
	}
}
