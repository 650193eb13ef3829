package build_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// A running process goes on with the libraries that it has.
func TestOtherLibrariesAreTold(t *testing.T) {
	cc, dir := testkit.Tool(t, "gcc"), t.TempDir()
	gcc := func(args ...string) {
		t.Helper()
		if text, err := exec.Command(cc, append(args, filepath.Join("testdata", "needs.c"))...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	for name, soname := range map[string]string{"a": "liba.so.1", "b": "liba.so.2", "c": "libc.so.9", "u1": "libx-1.2-3+deb12u1.so", "u2": "libx-1.2-3+deb12u2.so"} {
		gcc("-DLIBRARY", "-DNAME=of_"+name, "-shared", "-fPIC", "-Wl,-soname,"+soname, "-o", filepath.Join(dir, name+".so"))
	}
	link := func(out string, libs []string, flags ...string) string {
		path := filepath.Join(dir, out)
		flags = append(flags, "-O2", "-g", "-Wl,--build-id=sha1", "-Wl,--no-as-needed", "-o", path)
		for _, l := range libs {
			flags = append(flags, filepath.Join(dir, l+".so"))
		}
		gcc(flags...)
		return path
	}
	for _, c := range []struct {
		base, fixed []string
		flags       []string
		verdict     patch.Verdict
		code        string
	}{
		{[]string{"a", "c"}, []string{"a", "c"}, nil, patch.Clean, ""},
		{[]string{"a", "c"}, []string{"b", "c"}, nil, patch.Refused, "libraries-changed"},
		{[]string{"a", "c"}, []string{"c", "a"}, nil, patch.Refused, "libraries-changed"},
		{[]string{"a", "c"}, []string{"a", "c"}, []string{"-Wl,-rpath,/opt"}, patch.Refused, "libraries-changed"},
		{[]string{"c"}, []string{"a", "c"}, nil, patch.Review, "library-list"},
		{[]string{"a", "c"}, []string{"a"}, nil, patch.Clean, ""},
		{[]string{"a", "c"}, []string{"a"}, []string{"-DASKS"}, patch.Review, "library-list"},
		{[]string{"c"}, []string{"a", "c"}, []string{"-DASKS"}, patch.Review, "library-list"}, // of libc, as its version says
		{[]string{"c"}, []string{"a", "c"}, []string{"-DASKS_IT"}, patch.Refused, "libraries-changed"},
		{[]string{"u1"}, []string{"u2"}, nil, patch.Review, "goes-with"},
	} {
		r, _ := run(t, link("base", c.base), link("fixed", c.fixed, append(c.flags, "-DFIXED")...), build.Options{})
		if r.Verdict != c.verdict || c.code != "" && !slices.Contains(codes(r), c.code) {
			t.Errorf("%v, then %v %v: %s: %v, want %s (%s)", c.base, c.fixed, c.flags, r.Verdict, r.Reasons, c.verdict, c.code)
		}
	}
}
