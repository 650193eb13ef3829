package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// A package that the distribution lets go only with another of the same source
// needs somebody who sees to that; a program that another program comes with
// does not.
func TestBuildTellsOfPackagesThatGoTogether(t *testing.T) {
	program, fixedProgram := compile(t, "function.c", debugged)
	library, fixedLibrary := compile(t, "function.c", style{flags: []string{"-g", "-shared", "-Wl,-soname,libvictim.so.1"}})
	for _, c := range []struct {
		name               string
		base, fixed        string // the file
		depends, dependsOn string // before, now
		want               bool
	}{
		{"on the same library as before", program, fixedProgram, "libx1 (= 1.0-1)", "libx1 (= 1.0-1)", false},
		{"a program on a library", program, fixedProgram, "libc6 (>= 2.36), libx1 (= 1.0-1)", "libc6 (>= 2.36), libx1 (= 1.0-2)", true},
		{"at least", program, fixedProgram, "", "x-libs:amd64 (>= 1.0-2) | y", true},
		{"a program on a program", program, fixedProgram, "x-tools (= 1.0-1)", "x-tools (= 1.0-2)", false},
		{"a library on a program", library, fixedLibrary, "x-server (= 1.0-1)", "x-server (= 1.0-2)", true},
		{"another source", program, fixedProgram, "libc6 (>= 2.36)", "libc6 (>= 2.38)", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			base := makeDeb(t, dir, "victim", "1.0-1", "amd64", map[string][]byte{"./usr/lib/x": content(t, c.base)}, "Depends: "+c.depends+"\n")
			fixed := makeDeb(t, dir, "victim", "1.0-2", "amd64", map[string][]byte{"./usr/lib/x": content(t, c.fixed)}, "Depends: "+c.dependsOn+"\n")
			r, _ := run(t, base, fixed, build.Options{})
			want := patch.Clean
			if c.want {
				want = patch.Review
			}
			if r.Verdict != want || slices.Contains(codes(r), "goes-with") != c.want {
				t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
			}
		})
	}
}
