package build_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// TestBuildOfRust: the code of a Rust program compares like any other. Its
// types are not all described, so somebody has to look.
func TestBuildOfRust(t *testing.T) {
	t.Parallel()
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("rustc is not installed (no package needs it, so that is no failure of a full run)")
	}
	dir := t.TempDir()
	var paths [2]string
	for i, cfg := range []string{"base", "fixed"} {
		paths[i] = filepath.Join(dir, cfg, "victim")
		if text, err := exec.Command("mkdir", filepath.Dir(paths[i])).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		cmd := exec.Command(rustc, "-O", "-g", "--cfg", cfg, "-C", "link-arg=-Wl,--build-id=sha1", "-o", paths[i], "testdata/limits.rs")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("rustc does not work here: %v\n%s", err, text)
		}
	}
	for _, strip := range []bool{false, true} {
		base, fixed := paths[0], paths[1]
		if strip {
			for _, p := range []*string{&base, &fixed} {
				out := filepath.Join(filepath.Dir(*p), "stripped", "victim")
				for _, args := range [][]string{{"mkdir", filepath.Dir(out)}, {testkit.Tool(t, "strip"), "-o", out, *p}} {
					if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
						t.Fatalf("%v: %v\n%s", args, err, text)
					}
				}
				*p = out
			}
		}
		rep, _, err := build.Build(context.Background(), base, fixed, build.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if rep.Verdict != patch.Review || len(rep.Reasons) != 1 || rep.Reasons[0].Code != "layout-unverified" {
			t.Errorf("stripped %v: %s %v", strip, rep.Verdict, rep.Reasons)
		}
		n := rep.Images[0].Counts
		if n.Changed != 1 || n.New+n.Gone != 0 || !strip && !strings.Contains(rep.Images[0].Functions[0].Name, "limit") {
			t.Errorf("stripped %v: %+v %v", strip, n, rep.Images[0].Functions)
		}
	}
}
