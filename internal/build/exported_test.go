package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A function that only the fix exports is looked up under its name by nobody: the
// running program has it, but not the name.
func TestFunctionThatTheFixExportsIsNotLookedUp(t *testing.T) {
	for _, more := range [][]string{nil, {"-fno-plt"}} {
		base, fixed := compile(t, "exported.c", style{flags: append([]string{"-g", "-fPIC", "-shared", "-Wl,-soname,libvictim.so"}, more...)})
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Errorf("%v: %s: %v", more, r.Verdict, r.Reasons)
			continue
		}
		for _, s := range b.Objects[0].Symbols {
			if s.Kind == patch.Import && s.Name == "helper" {
				t.Errorf("%v: it is imported", more)
			}
		}
	}
}

// The name of what a library exports says nothing of its content: an array that
// grew is no place for new code, which gets a copy of a constant that changed. And
// what others read is told of.
func TestExportedObjectsAreComparedBehindTheirNames(t *testing.T) {
	for _, c := range []struct {
		flag    string
		verdict patch.Verdict
		reasons []string
	}{
		{"-DGROWN", patch.Refused, []string{"layout-changed"}},
		{"-DCONSTANT", patch.Review, []string{"data-init-changed", "table-carried"}},
		{"-DUNUSED", patch.Refused, []string{"data-init-changed", "data-only"}},
	} {
		base, fixed := compile(t, "exports.c", style{flags: []string{"-g", c.flag, "-fPIC", "-shared", "-Wl,-soname,libvictim.so"}})
		r, b := run(t, base, fixed, build.Options{})
		if r.Verdict != c.verdict || !slices.Equal(codes(r), c.reasons) {
			t.Errorf("%s: %s: %v", c.flag, r.Verdict, r.Reasons)
		}
		if b == nil || c.verdict == patch.Refused {
			continue
		}
		if s := states(r); s["check"] != "changed" {
			t.Errorf("%s: who reads the constant is not changed: %v", c.flag, s)
		}
	}
}

func TestStaticVariableOfAnotherFunctionIsNotTakenOver(t *testing.T) {
	base, fixed := compile(t, "locals.c", debugged)
	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict != patch.Refused || !slices.Contains(codes(r), "data-unmapped") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}
