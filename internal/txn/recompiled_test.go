package txn_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestRecompiledLibrary: other options made the fixed library, so that nearly
// every function is another one, and local functions may be called in another
// way. What the running program keeps (objects with the addresses of functions,
// variables, what was written so far) goes on under the new code as it would
// have there from the start.
func TestRecompiledLibrary(t *testing.T) {
	for _, c := range []struct{ name, cc, base, fixed, asked string }{
		{"other options", "gcc", "-fno-schedule-insns2 -fno-ipa-ra -mtune=znver3", "-O2", "spdrmcqnzhlmdsjp"},
		{"optimised more", "gcc", "-O1", "-O2", "spdrmcqnzhlmdsjp"},
		{"another version", "gcc-11", "-O2", "-O2", "spdrmcqnzhlmdsjp"},
		{"C++, other options", "g++", "-fno-schedule-insns2 -fno-ipa-ra -mtune=znver3 -fno-tree-vectorize", "-O2", cxxAsked},
		{"C++, another version", "g++-11", "-O2", "-O2", cxxAsked},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.cc); err != nil {
				if strings.Contains(c.cc, "-") {
					t.Skipf("%s is missing", c.cc)
				}
				testkit.Skip(t, c.cc+" is missing")
			}
			lib, libFixed := recompiled(t, c.cc, c.base), recompiled(t, strings.TrimSuffix(c.cc, "-11"), c.fixed+" -DFIXED")
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
				for i, k := range c.asked {
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

// cxxAsked makes every kind of object, has them throw and be destroyed.
const cxxAsked = "aatasqajaatsadajaqstaajdaatasqaj"

// recompiled is the library in the language of the compiler.
func recompiled(t *testing.T, cc, flags string) string {
	t.Helper()
	source := "librecompiled"
	if strings.HasPrefix(cc, "g++") {
		source += ".cc"
	}
	return compileWith(t, cc, source, "lib", append([]string{"-shared", "-fPIC", "-s"}, strings.Fields(flags)...)...)
}

// TestRecompiledCXXWithObjectsOfTheCompilers: nothing says how another compiler
// lays out what a pointer to a function may be the way into, nor what other
// languages keep.
func TestRecompiledCXXWithObjectsOfTheCompilers(t *testing.T) {
	if _, err := exec.LookPath("g++"); err != nil {
		testkit.Skip(t, "g++ is missing")
	}
	for define, why := range map[string]string{
		"-DKEPT":   "puts the address of a function into an object",
		"-DRUST":   "not in the way of C++",
		"-DLAMBDA": "classes that are made for lambdas",
		"-DNAMELESS -fno-rtti -fvisibility=hidden": "is of no class that has a name",
	} {
		base := recompiled(t, "g++", define+" -fno-schedule-insns2 -fno-ipa-ra -mtune=znver3 -fno-tree-vectorize")
		rep, b, err := build.Build(t.Context(), base, recompiled(t, "g++", define+" -DFIXED"), build.Options{Accept: "a test", By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if b != nil || !slices.ContainsFunc(rep.Reasons, func(r patch.Reason) bool {
			return r.Code == "rebuilt-compiler" && strings.Contains(r.Detail, why)
		}) {
			t.Errorf("%s: %s: %v", define, rep.Verdict, rep.Reasons)
		}
	}
}
