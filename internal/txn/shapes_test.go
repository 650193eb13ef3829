package txn_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// Functions of every shape: how they begin, where they lie, how they are
// reached and what they use.

// thereAndBack applies and reverts a bundle a few times and asks each time.
func thereAndBack(t *testing.T, v *victim, b *patch.Bundle, was, is string) {
	t.Helper()
	v.want("q", was)
	for range 3 {
		apply(t, v, b, txn.Applied)
		v.want("q", is)
		revert(t, v, b, txn.Reverted)
		v.want("q", was)
	}
	v.running()
}

func TestShapesOfFunctions(t *testing.T) {
	for _, tc := range []struct {
		victim  string
		flags   []string
		was, is string
	}{
		{"endbr64", []string{"-g", "-fcf-protection=full"}, "2 1", "1001 1"},
		{"hidden", []string{"-g"}, "2 3 10 -6", "1001 2001 6004 -6"},
		{"pointers", []string{"-g"}, "2 2 2 123 equal=1", "1001 1001 1001 321 equal=1"},
		{"ifunc", []string{"-g"}, "2 4 2 1", "1001 1003 1001 1"},
		{"threadlocal", []string{"-g"}, "5 105", "5010 105011"},
		{"constructors", []string{"-g"}, "42 1", "4002 1"},
	} {
		t.Run(tc.victim, func(t *testing.T) {
			base, fixed := compile(t, tc.victim, tc.flags...)
			v := start(t, base)
			thereAndBack(t, v, built(t, base, fixed), tc.was, tc.is)
			if tc.victim == "constructors" {
				v.want("e", "destroyed 1") // and its end is its own
			}
		})
	}
}

// TestEntryThatStraddlesAPageIsRefused: a jump on two pages cannot be written
// at once; whoever died between would leave half of it.
func TestEntryThatStraddlesAPageIsRefused(t *testing.T) {
	base, fixed := compile(t, "straddles_page")
	v := start(t, base)
	v.want("q", "1")
	r := apply(t, v, byHand(t, base, fixed, "fixed_function"), txn.Denied)
	if !strings.Contains(r.Reason, "crosses a page") {
		t.Errorf("reason %q", r.Reason)
	}
	v.want("q", "1")
	v.running()
	if n := executableAnonymous(t, v.pid); n != 0 {
		t.Errorf("%d mappings left behind", n)
	}
	if rep, _, err := build.Build(context.Background(), base, fixed, build.Options{}); err != nil || rep.Verdict != patch.Refused {
		t.Errorf("the builder says %s, %v", rep.Verdict, err)
	}
}

// TestCallOfAnIndirectFunctionOfItsOwnIsRefused: its PLT entry has no name that
// would tell which one it is.
func TestCallOfAnIndirectFunctionOfItsOwnIsRefused(t *testing.T) {
	base := compileAs(t, "ifunc", "ifunc", "-g")
	fixed := compileAs(t, "ifunc", "ifunc.fixed", "-g", "-DFIXED", "-DCALLER")
	rep, _, err := build.Build(context.Background(), base, fixed, build.Options{})
	if err != nil || rep.Verdict != patch.Refused || len(rep.Reasons) == 0 || rep.Reasons[0].Code != "ifunc-plt" {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestFunctionThatIsNotThereFailsClean: the file names a function where the
// process has other code, or none.
func TestFunctionThatIsNotThereFailsClean(t *testing.T) {
	base, fixed := compile(t, "confined")
	v := start(t, base)
	for name, shift := range map[string]uint64{"other code": 32, "no memory": 1 << 30} {
		b := byHand(t, base, fixed, "fixed_function")
		s := &b.Manifest.Images[0].Sites[0]
		s.Base += shift
		s.Ranges = [][2]uint64{{s.Ranges[0][0] + shift, s.Ranges[0][1] + shift}}
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{})
		if r.Outcome != txn.Denied && r.Outcome != txn.Failed || !strings.Contains(r.Reason, "fixed_function") {
			t.Errorf("%s: %+v", name, r)
		}
		v.want("q", "2")
		v.running()
		if n := executableAnonymous(t, v.pid); n != 0 {
			t.Errorf("%s: %d mappings left behind", name, n)
		}
	}
}

// TestLayoutThatChangesUnderAnActiveCallerIsRefused: nothing is built, so
// nothing can be applied.
func TestLayoutThatChangesUnderAnActiveCallerIsRefused(t *testing.T) {
	base, fixed := compile(t, "layout", "-g")
	v := start(t, base)
	v.want("q", "11 x")
	rep, b, err := build.Build(context.Background(), base, fixed, build.Options{Accept: "a test", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, r := range rep.Reasons {
		named = named || r.Code == "layout-changed" && strings.Contains(r.Detail, "session")
	}
	if rep.Verdict != patch.Refused || b != nil || !named {
		t.Errorf("%s: %+v", rep.Verdict, rep.Reasons)
	}
	v.want("q", "12 x")
}

// TestThreadBlockedInsideTheLibraryIsNoObstacle, as long as it is not in what
// is replaced; libpulp's tests expect this to fail.
func TestThreadBlockedInsideTheLibraryIsNoObstacle(t *testing.T) {
	v, b := program(t)
	v.want("l", "loaded")
	v.want("b", "blocked")
	r := apply(t, v, b, txn.Applied)
	if r.Lingers != "" || r.Attempts > 2 {
		t.Errorf("%+v", r)
	}
	v.want("q", "1001 1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2 2")
	v.running()
}

func TestRustProgram(t *testing.T) {
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("rustc is missing; the other languages stand for it")
	}
	dir := t.TempDir()
	compileRust := func(name string, flags ...string) string {
		path := filepath.Join(dir, name)
		args := append([]string{"-O", "-g", "-o", path, "testdata/victims/rust.rs"}, flags...)
		if out, err := exec.Command(rustc, args...).CombinedOutput(); err != nil {
			if bytes.Contains(out, []byte("default toolchain")) {
				t.Skip("rustc has no toolchain")
			}
			t.Fatalf("%v\n%s", err, out)
		}
		return path
	}
	base, fixed := compileRust("rust"), compileRust("rust.fixed", "--cfg", "fixed")
	v := start(t, base)
	b := built(t, base, fixed)
	thereAndBack(t, v, b, "42 7", "142 1007")
	v.want("p", "caught")
	apply(t, v, b, txn.Applied)
	v.want("p", "caught") // a panic passes carried frames
	revert(t, v, b, txn.Reverted)
	v.want("p", "caught")
}
