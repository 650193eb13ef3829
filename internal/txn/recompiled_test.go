package txn_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// TestRecompiledLibrary: other options made the fixed library, so that nearly
// every function is another one, and local functions may be called in another
// way. What the running program keeps (objects with the addresses of functions,
// variables, what was written so far) goes on under the new code as it would
// have there from the start.
func TestRecompiledLibrary(t *testing.T) {
	for _, c := range []struct{ name, cc, base, fixed string }{
		{"other options", "gcc", "-fno-schedule-insns2 -fno-ipa-ra -mtune=znver3", "-O2"},
		{"optimised more", "gcc", "-O1", "-O2"},
		{"another version", "gcc-11", "-O2", "-O2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cc, err := exec.LookPath(c.cc)
			if err != nil && c.cc != "gcc" {
				t.Skipf("%s is missing", c.cc)
			}
			args := func(flags string) []string {
				return append([]string{"-shared", "-fPIC", "-s"}, strings.Fields(flags)...)
			}
			lib := compileWith(t, cc, "librecompiled", "lib", args(c.base)...)
			libFixed := compileAs(t, "librecompiled", "lib.fixed", append(args(c.fixed), "-DFIXED")...)
			program, _ := compile(t, "recompiled", "-ldl")
			b := built(t, lib, libFixed)
			if !slices.ContainsFunc(b.Manifest.Reasons, func(r patch.Reason) bool { return r.Code == "other-compiler" }) {
				t.Fatalf("reasons %v", b.Manifest.Reasons)
			}

			// Next to it run the base and the fixed library from the start, and
			// are asked the same: the fix changes answers, and no state.
			base, fixed, v := start(t, program, lib), start(t, program, libFixed), start(t, program, lib)
			round := func(like *victim, what string) {
				t.Helper()
				differ := 0
				for i, k := range "spdrmcqnzhlmdsjp" {
					q := fmt.Sprintf("%c%d", k, 3*i+1)
					answers := map[*victim]string{base: base.ask(q), fixed: fixed.ask(q), v: v.ask(q)}
					if answers[v] != answers[like] {
						t.Errorf("%s: %s is answered %q, want %q", what, q, answers[v], answers[like])
					}
					if answers[base] != answers[fixed] {
						differ++
					}
				}
				if differ == 0 {
					t.Errorf("%s: the fix changes nothing", what)
				}
			}
			round(base, "before")
			for range 3 {
				apply(t, v, b, txn.Applied)
				round(fixed, "patched")
				revert(t, v, b, txn.Reverted)
				round(base, "reverted")
			}
			v.running()
		})
	}
}
