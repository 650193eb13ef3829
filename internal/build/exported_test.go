package build_test

import (
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
