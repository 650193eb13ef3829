package txn_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// throwing is a victim that answers by throwing, and what fixes it: the
// functions are in the program itself, or in a library.
type throwing struct{ program, base, fixed string }

func compileThrowing(t testing.TB, library bool) throwing {
	t.Helper()
	if _, err := exec.LookPath("g++"); err != nil {
		testkit.Skip(t, "g++ is missing")
	}
	dir := victims.dir(t)
	victims.Lock()
	defer victims.Unlock()
	build := func(out, src string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, out)
		if _, err := os.Stat(path); err == nil {
			return path // compiled once in a run of the tests
		}
		args = append([]string{"-std=c++17", "-O2", "-Wall", "-pthread", "-o", path, src}, args...)
		if b, err := exec.Command("g++", args...).CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", out, err, b)
		}
		return path
	}
	src := filepath.Join("testdata", "victims", "throws.cc")
	main := build("throws_main.o", filepath.Join("testdata", "victims", "throws_main.cc"), "-c")
	if !library {
		base := build("throws", src, main)
		return throwing{base, base, build("throws.fixed", src, main, "-DFIXED")}
	}
	lib := build("libthrows.so", src, "-fPIC", "-shared")
	fixed := build("libthrows.fixed.so", src, "-fPIC", "-shared", "-DFIXED")
	return throwing{build("throws_with_library", main, lib, "-Wl,-rpath,"+dir), lib, fixed}
}

// What the program answers before and after, and to what.
var throwingAnswers = []struct{ q, base, fixed string }{
	{"throws_itself 1", "2 caught=0 gone=0", "1001 caught=0 gone=0"},
	{"throws_itself -1", "0 caught=0 gone=0", "-1 caught=200 gone=0"}, // to a caller that is not replaced
	{"catches 1", "11 caught=0 gone=0", "1011 caught=0 gone=0"},
	{"catches 3", "-1 caught=300 gone=0", "2005 caught=0 gone=0"}, // a type that the base never caught
	{"catches 4", "-1 caught=404 gone=0", "3004 caught=0 gone=0"},
	{"catches 6", "-1 caught=300 gone=0", "-1 caught=300 gone=0"},
	{"catches_base 2", "32 caught=0 gone=0", "1032 caught=0 gone=0"}, // by its base class
	{"catches_base 3", "20 caught=0 gone=0", "1020 caught=0 gone=0"},
	{"catches_base 4", "-1 caught=404 gone=0", "-1 caught=404 gone=0"},
	{"catches_hidden 5", "55 caught=0 gone=0", "1055 caught=0 gone=0"}, // told by its address
	{"catches_hidden 0", "60 caught=0 gone=0", "1060 caught=0 gone=0"},
	{"catches_all 5", "70 caught=0 gone=0", "1070 caught=0 gone=0"},
	{"passes 1", "-1 caught=101 gone=11", "-1 caught=101 gone=101"}, // destructors run
	{"passes 0", "90 caught=0 gone=11", "1090 caught=0 gone=101"},
	{"rethrows 3", "-1 caught=300 gone=11", "-1 caught=300 gone=102"},
	{"no_frame 4", "-1 caught=404 gone=0", "-1 caught=404 gone=0"}, // it knows nothing of exceptions
	{"no_frame 0", "1 caught=0 gone=0", "1000 caught=0 gone=0"},
	{"new_type 7", "1 caught=0 gone=0", "-1 caught=107 gone=0"}, // a class that the base does not have
	{"nested 2", "102 caught=0 gone=14", "1102 caught=0 gone=106"},
}

func (v *victim) answersAs(fixed bool) {
	v.t.Helper()
	for _, a := range throwingAnswers {
		want := a.base
		if fixed {
			want = a.fixed
		}
		v.want(a.q, want)
	}
}

func TestExceptionsPassCarriedCode(t *testing.T) {
	t.Run("of a program", func(t *testing.T) {
		x := compileThrowing(t, false)
		passCarriedCode(t, x, built(t, x.base, x.fixed))
	})
	x := compileThrowing(t, true)
	b := built(t, x.base, x.fixed)
	if !b.Manifest.Images[0].Unwinds {
		t.Error("the bundle does not say that exceptions pass it")
	}
	for _, c := range []struct {
		when string
		test func(t *testing.T, x throwing, b *patch.Bundle)
	}{
		{"of a library", passCarriedCode},
		{"while hotpatches come and go", comesAndGoes},
		{"of two hotpatches in any order", twoInAnyOrder},
		{"of what takes the place of another", takesAnotherOnesPlace},
		{"when the tool is killed", killedTool},
		{"when an apply fails", failedApply},
	} {
		t.Run(c.when, func(t *testing.T) { c.test(t, x, b) })
	}
}

func passCarriedCode(t *testing.T, x throwing, b *patch.Bundle) {
	v := start(t, x.program)
	v.answersAs(false)
	for range 3 {
		apply(t, v, b, txn.Applied)
		v.answersAs(true)
		if s := state(t, v); s != txn.InForce {
			t.Fatalf("status: %q", s)
		}
		revert(t, v, b, txn.Reverted)
		v.answersAs(false)
	}
	v.running()
	if n := executableAnonymous(t, v.pid); n != 2 {
		t.Errorf("%d tagged mappings after three rounds, not two", n)
	}
}

func comesAndGoes(t *testing.T, x throwing, b *patch.Bundle) {
	v := start(t, x.program)
	v.want("storm", "begun")
	rounds := 30
	if long() {
		rounds = 300
	}
	for range rounds {
		apply(t, v, b, txn.Applied)
		revert(t, v, b, txn.Reverted)
	}
	v.want("calm", "thrown")
	v.answersAs(false)
	v.running()
}

// only makes a bundle of some of the functions that b replaces.
func only(t testing.TB, b *patch.Bundle, name string, keep func(site string) bool) *patch.Bundle {
	t.Helper()
	c := *b
	c.Manifest.Images = append([]patch.Image(nil), b.Manifest.Images...)
	img := &c.Manifest.Images[0]
	img.Sites = nil
	for _, s := range b.Manifest.Images[0].Sites {
		if keep(s.Name) {
			img.Sites = append(img.Sites, s)
		}
	}
	c.Manifest.Package = name
	c.Before = nil
	img.Before = ""
	c.Accepted = nil
	if err := c.Accept("test", "half of it", time.Now().UTC().Truncate(time.Second)); err != nil {
		t.Fatal(err)
	}
	return &c
}

// Two hotpatches in one process have their finders in one chain, and may go in
// any order.
func twoInAnyOrder(t *testing.T, x throwing, b *patch.Bundle) {
	catches := only(t, b, "a", func(s string) bool { return strings.HasPrefix(s, "catches") })
	others := only(t, b, "b", func(s string) bool { return !strings.HasPrefix(s, "catches") })
	v := start(t, x.program)
	check := func(first, second bool) {
		t.Helper()
		for _, a := range throwingAnswers {
			fixed := second
			if strings.HasPrefix(a.q, "catches") {
				fixed = first
			}
			want := a.base
			if fixed {
				want = a.fixed
			}
			v.want(a.q, want)
		}
	}
	v.want("storm", "begun")
	for range 2 {
		apply(t, v, catches, txn.Applied)
		check(true, false)
		apply(t, v, others, txn.Applied)
		check(true, true)
		revert(t, v, catches, txn.Reverted) // the lower one
		check(false, true)
		apply(t, v, catches, txn.Applied)
		check(true, true)
		revert(t, v, catches, txn.Reverted) // the upper one
		check(false, true)
		revert(t, v, others, txn.Reverted)
		check(false, false)
	}
	v.want("calm", "thrown")
}

// A later version takes the place of an earlier one, and its finder that of the
// earlier one's.
func takesAnotherOnesPlace(t *testing.T, x throwing, b *patch.Bundle) {
	version := func(v string) *patch.Bundle {
		c := only(t, b, "throws", func(string) bool { return true })
		c.Manifest.FixedVersion = v
		c.Accepted = nil
		if err := c.Accept("test", "version "+v, time.Now().UTC().Truncate(time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	v := start(t, x.program)
	v.want("storm", "begun")
	first, second := version("1"), version("2")
	apply(t, v, first, txn.Applied)
	apply(t, v, second, txn.Applied)
	v.answersAs(true)
	revert(t, v, second, txn.Reverted)
	v.answersAs(false)
	v.want("calm", "thrown")
	if s := state(t, v); s != "" {
		t.Errorf("status %q", s)
	}
}

// A tool that is killed anywhere leaves a process in which exceptions pass, and
// the next one finds its way.
func killedTool(t *testing.T, x throwing, b *patch.Bundle) {
	file := writeBundle(t, b)
	after := func(v *victim, verb string, n int, point string) {
		t.Helper()
		killed(t, toolCmd(t, verb, v, file, n))
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience})
		if r.Outcome != txn.Applied && r.Outcome != txn.Already {
			t.Fatalf("%s killed at %d (%s): apply afterwards: %s (%s)", verb, n, point, r.Outcome, r.Reason)
		}
		v.answersAs(true)
		revert(t, v, b, txn.Reverted)
		v.answersAs(false)
	}
	v := start(t, x.program)
	v.want("storm", "begun")
	applying := points(t, "apply", v, file)
	for _, i := range telling(applying) {
		if applying[i] == "seized" {
			break // from here on it is as in a process that has the mappings
		}
		w := start(t, x.program)
		after(w, "apply", i, applying[i])
		w.kill()
	}
	reverting := points(t, "revert", v, file)
	again := points(t, "apply", v, file)
	revert(t, v, b, txn.Reverted)
	for _, i := range telling(again) {
		after(v, "apply", i, again[i])
	}
	for _, i := range telling(reverting) {
		apply(t, v, b, txn.Applied)
		after(v, "revert", i, reverting[i])
	}
	v.want("calm", "thrown")
	v.running()
}

// A cancelled thread unwinds its stack as an exception does.
func TestCancelledThreadCleansUpThroughCarriedCode(t *testing.T) {
	base, fixed := compile(t, "cancel", "-fexceptions")
	b := built(t, base, fixed)
	v := start(t, base)
	v.want("c", "cleaned=7")
	for range 2 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		v.want("c", "cleaned=7")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
		v.want("c", "cleaned=7")
	}
}

// A write that fails takes the finder out of the unwinder before its mapping goes.
func failedApply(t *testing.T, x throwing, b *patch.Bundle) {
	v := start(t, x.program)
	v.want("storm", "begun")
	sites := len(b.Manifest.Images[0].Sites)
	for fail := 1; fail <= sites+1; fail += 4 { // the first is the unwinder's
		n := 0
		o := txn.WithFail(txn.Options{Wait: patience}, func(point string) error {
			if point == "entry-written" {
				if n++; n == fail {
					return errors.New("injected")
				}
			}
			return nil
		})
		if r := txn.Apply(context.Background(), v.pid, b, o); r.Outcome != txn.Failed || !strings.Contains(r.Reason, "injected") {
			t.Fatalf("failure at write %d: %s (%s)", fail, r.Outcome, r.Reason)
		}
		v.answersAs(false)
		if n := executableAnonymous(t, v.pid); n != 0 {
			t.Fatalf("failure at write %d: %d mappings left", fail, n)
		}
	}
	v.want("calm", "thrown")
	v.running()
}

// Without an unwinder that can be told, what needs one is refused, and what does
// not is patched as ever.
func TestExceptionsWithoutAnUnwinderAreRefused(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	b.Manifest.Images[0].Unwinds = true
	v := start(t, base)
	if r := apply(t, v, b, txn.Denied); !strings.Contains(r.Reason, "no unwinder") {
		t.Errorf("reason %q", r.Reason)
	}
	v.want("q", "2")
	b.Manifest.Images[0].Unwinds = false
	apply(t, v, b, txn.Applied)
	v.want("q", "1001")
}

// Nearly every function of the C++ library itself, those that throw and find
// handlers among them, runs from a copy while exceptions fly.
func TestExceptionsOfACarriedRuntime(t *testing.T) {
	x := compileThrowing(t, true)
	v := start(t, x.program)
	lib := ""
	maps, err := os.ReadFile("/proc/" + itoa(v.pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(maps)) {
		if strings.HasPrefix(filepath.Base(f), "libstdc++.so") {
			lib = f
		}
	}
	if lib == "" {
		testkit.Skip(t, "the C++ library is not a shared one here")
	}
	rep, b, err := build.Build(context.Background(), lib, lib, build.Options{All: true, Accept: "a test", By: "test"})
	if err != nil || b == nil {
		t.Fatalf("%+v: %v", rep, err)
	}
	if n := len(b.Manifest.Images[0].Sites); n < 1000 {
		t.Errorf("only %d functions", n)
	}
	v.want("storm", "begun")
	for range 2 {
		apply(t, v, b, txn.Applied)
		v.answersAs(false)
		revert(t, v, b, txn.Reverted)
		v.answersAs(false)
	}
	v.want("calm", "thrown")
	v.running()
}

// Another unwinder that stands before libgcc's throws the exceptions then.
func TestUnwinderOfAnotherMakeIsRefused(t *testing.T) {
	dir := t.TempDir()
	src, lib := filepath.Join(dir, "other.c"), filepath.Join(dir, "libother.so")
	if err := os.WriteFile(src, []byte("int _Unwind_RaiseException(void *e) { return e != 0; }\nvoid *_Unwind_Find_FDE(void *a, void *b) { return b ? a : b; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		testkit.Skip(t, "gcc is missing")
	}
	gcc := func(out string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, out)
		if text, err := exec.Command("gcc", append([]string{"-O2", "-o", path}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", out, err, text)
		}
		return path
	}
	gcc("libother.so", "-shared", "-fPIC", "-Wl,-soname,libother.so", src)
	victim := []string{"-fexceptions", "-pthread", filepath.Join("testdata", "victims", "cancel.c"), "-Wl,--no-as-needed", lib, "-Wl,-rpath," + dir}
	base, fixed := gcc("cancel", victim...), gcc("cancel.fixed", append(victim, "-DFIXED")...)
	v := start(t, base)
	if r := apply(t, v, built(t, base, fixed), txn.Denied); !strings.Contains(r.Reason, "libother.so is not libgcc_s.so.1") {
		t.Errorf("reason %q", r.Reason)
	}
	v.want("q", "2")
	v.running()
}
