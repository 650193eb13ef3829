package txn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// exchanged compiles a victim whose function has an entry of this shape, and an
// independent hotpatch for it.
func exchanged(t testing.TB, flags ...string) (base string, b *patch.Bundle) {
	t.Helper()
	base, fixed := compile(t, "exchanged", flags...)
	return base, independent(t, byHand(t, base, fixed, "fixed_function"))
}

// how applies and fails unless it was done like that.
func how(t testing.TB, v *victim, b *patch.Bundle, want txn.How) txn.Result {
	t.Helper()
	r := apply(t, v, b, txn.Applied)
	if r.How != want || want == txn.Exchanged && r.Threads != 1 {
		t.Fatalf("%s, not %s: %+v", r.How, want, r)
	}
	return r
}

// code lists the executable mappings of the program.
func code(t testing.TB, v *victim, name string) (out []string) {
	t.Helper()
	maps, err := proc.Maps(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Exec && strings.HasPrefix(filepath.Base(m.Path), name) {
			out = append(out, m.String())
		}
	}
	return out
}

// TestNobodyIsStoppedWhereOneInstructionChanges: and everything that follows
// works as after a stop.
func TestNobodyIsStoppedWhereOneInstructionChanges(t *testing.T) {
	for name, flags := range map[string][]string{
		"wide entry":                nil,
		"wide entry, tight":         {"-DPAD_NONE"},
		"short entry, nops":         {"-DENTRY_SHORT"},
		"short entry, int3":         {"-DENTRY_SHORT", "-DPAD_INT3"},
		"short entry at a page end": {"-DENTRY_SHORT", "-DAT_PAGE_END"},
		"endbr64":                   {"-DENTRY_SHORT", "-DENDBR"},
		"behind abort":              {"-DENTRY_SHORT", "-DPAD_NORETURN"},
		"push":                      {"-DENTRY_PUSH"},
		"three pushes":              {"-DENTRY_PUSH3", "-DENDBR"},
	} {
		t.Run(name, func(t *testing.T) {
			base, b := exchanged(t, flags...)
			v := start(t, base)
			before := code(t, v, "exchanged")
			for range 3 {
				v.want("q", "2")
				if r := how(t, v, b, txn.Exchanged); r.Lingers != "" {
					t.Errorf("%+v", r)
				}
				v.want("q", "1001")
				ss, err := states(t, v)
				if err != nil || len(ss) != 1 || ss[0].State != txn.InForce || len(ss[0].Names) != 1 || ss[0].Images[0].Functions != 1 {
					t.Fatalf("status %+v, %v", ss, err)
				}
				if after := code(t, v, "exchanged"); strings.Join(after, "\n") != strings.Join(before, "\n") {
					t.Errorf("mappings of the program were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
				}
				if n := executableAnonymous(t, v.pid); n != 1 {
					t.Errorf("%d mappings", n)
				}
				apply(t, v, b, txn.Already)
				revert(t, v, b, txn.Reverted)
			}
			v.want("q", "2")
			v.running()
		})
	}
}

// TestWhoCannotBeExchangedIsStopped: silently, but for the result.
func TestWhoCannotBeExchangedIsStopped(t *testing.T) {
	stopped := func(t *testing.T, v *victim, b *patch.Bundle) {
		t.Helper()
		how(t, v, b, txn.Stopped)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
		v.running()
	}
	for name, flags := range map[string][]string{
		"an instruction of one byte":  {"-DENTRY_BYTE"},
		"no padding":                  {"-DENTRY_SHORT", "-DPAD_NONE"},
		"zeros, which may be data":    {"-DENTRY_SHORT", "-DPAD_ZERO"},
		"code that runs into padding": {"-DENTRY_SHORT", "-DPAD_ENTERED"},
		"a call at the end":           {"-DENTRY_SHORT", "-DPAD_CALL"},
		"a branch that leads there":   {"-DENTRY_SHORT", "-DPAD_BRANCH"},
	} {
		t.Run(name, func(t *testing.T) {
			base, b := exchanged(t, flags...)
			stopped(t, start(t, base), b)
		})
	}
	base, b := exchanged(t)
	t.Run("locked memory", func(t *testing.T) {
		v := start(t, base)
		if v.ask("m") != "0" {
			testkit.Skip(t, "memory cannot be locked")
		}
		stopped(t, v, b)
	})
	t.Run("a page that something else changed", func(t *testing.T) {
		v := start(t, base)
		flip(t, v, base, "behind", 1)
		stopped(t, v, b)
	})
	t.Run("strict", func(t *testing.T) {
		v := start(t, base)
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience, Consistency: patch.Strict})
		if r.Outcome != txn.Applied || r.How != txn.Stopped {
			t.Errorf("%+v", r)
		}
	})
	for name, flags := range map[txn.How][]string{txn.Stopped: {"-Wl,--hash-style=gnu"}, txn.Exchanged: {"-Wl,-z,nodelete"}} {
		t.Run("a library that the program opened: "+string(name), func(t *testing.T) {
			lib, fixed := compile(t, "libanswer", append([]string{"-shared", "-fPIC", "-DWIDE"}, flags...)...)
			program, _ := compile(t, "uselib")
			v := start(t, program, lib)
			v.want("l", "loaded")
			how(t, v, independent(t, byHand(t, lib, fixed, "answer_of")), name)
			v.want("q", "2 1001")
			v.want("u", "unloaded")
			v.running()
		})
	}
}

// TestFewThreadsThatSleepAreStopped, since none of them notices: where one runs a
// page is exchanged.
func TestFewThreadsThatSleepAreStopped(t *testing.T) {
	try := func(base string, b *patch.Bundle, prepare func(*victim)) txn.How {
		t.Helper()
		v := start(t, base)
		prepare(v)
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience})
		if r.Outcome != txn.Applied {
			t.Fatalf("%+v", r)
		}
		v.running()
		return r.How
	}
	base, b := exchanged(t, "-DENTRY_SHORT")
	if how := try(base, b, func(v *victim) { waitState(t, v, 'S') }); how != txn.Stopped {
		t.Errorf("one that sleeps: %s", how)
	}
	if how := try(base, b, func(v *victim) { v.want("b1", "busy") }); how != txn.Exchanged {
		t.Errorf("one that runs: %s", how)
	}
	base, fixed := compile(t, "quiet", "-DSHORT")
	b = independent(t, byHand(t, base, fixed, "fixed_function"))
	if how := try(base, b, func(v *victim) { asleep(t, v) }); how != txn.Stopped {
		t.Errorf("five that sleep: %s", how)
	}
}

// behind is the memory of a victim, and where in it the second byte of a function is.
func behind(t *testing.T, v *victim, path, name string) (*ptrace.Mem, int64) {
	t.Helper()
	modules, err := proc.Modules(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := ptrace.OpenMem(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem, int64(modules[0].Bias) + int64(function(t, openImage(t, path), name).Lo) + 1
}

// flip writes code behind a function's start: the same bytes with some bits flipped.
func flip(t *testing.T, v *victim, path, name string, bits byte) {
	t.Helper()
	mem, at := behind(t, v, path, name)
	var b [1]byte
	if _, err := mem.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bits
	if _, err := mem.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestPageThatWasWrittenButIsTheSameIsExchanged: as after a revert.
func TestPageThatWasWrittenButIsTheSameIsExchanged(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	v := start(t, base)
	flip(t, v, base, "behind", 0)
	how(t, v, b, txn.Exchanged)
	v.want("q", "1001")
	v.running()
}

// TestLibraryThatTheProgramNeedsIsExchanged: the loader never unloads it.
func TestLibraryThatTheProgramNeedsIsExchanged(t *testing.T) {
	lib, fixed := compile(t, "libanswer", "-shared", "-fPIC", "-DWIDE", "-Wl,-soname,libanswer")
	program := filepath.Join(t.TempDir(), "linked")
	args := []string{"-O2", "-pthread", "-o", program, filepath.Join("testdata", "victims", "uselib.c"), "-Wl,--no-as-needed", lib, "-Wl,-rpath," + filepath.Dir(lib)}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v := start(t, program, lib)
	v.want("l", "loaded")
	v.want("b", "blocked")
	b := independent(t, byHand(t, lib, fixed, "answer_of"))
	how(t, v, b, txn.Exchanged)
	v.want("q", "2 1001")
	v.want("u", "unloaded") // it was opened once more, too
	if s := state(t, v); s != txn.InForce {
		t.Errorf("status %q", s)
	}
	revert(t, v, b, txn.Reverted)
	v.running()
}

// TestThreadsThatAreAlwaysInTheFunctionSeeOldOrNew: the page changes under them.
func TestThreadsThatAreAlwaysInTheFunctionSeeOldOrNew(t *testing.T) {
	for _, flags := range [][]string{nil, {"-DENTRY_SHORT"}, {"-DENTRY_PUSH3"}} {
		base, b := exchanged(t, flags...)
		v := start(t, base)
		for range 5 {
			v.want("b8", "busy")
			time.Sleep(5 * time.Millisecond)
			r := how(t, v, b, txn.Exchanged)
			if r.Lingers != "" && !strings.Contains(r.Lingers, "fixed_function") {
				t.Errorf("%+v", r)
			}
			v.want("q", "1001")
			time.Sleep(5 * time.Millisecond)
			if got := v.ask("s"); !strings.HasPrefix(got, "wrong=0 back=0 ") || !strings.HasSuffix(got, " slow=0") {
				t.Errorf("victim says %q", got)
			}
			revert(t, v, b, txn.Reverted)
			v.want("q", "2")
		}
		v.running()
	}
}

// TestForksWhileAPageIsExchanged: children run, whatever they have of it, and
// can be reverted or patched on their own.
func TestForksWhileAPageIsExchanged(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	v := start(t, base)
	v.want("f", "forking")
	for range 20 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	v.want("e", "bad=0 some=1")
	v.running()
}

// TestChildForkedInTheMiddleOfAnExchange has its own copy of everything, the
// journal that says "prepared" included.
func TestChildForkedInTheMiddleOfAnExchange(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	for _, point := range []string{"page-copied", "copy-verified"} {
		v := start(t, base)
		child := &victim{t: t}
		o := txn.WithStep(txn.Apart(txn.Options{Wait: patience}), func(p string) {
			if p == point && child.pid == 0 {
				var err error
				if child.pid, err = strconv.Atoi(v.ask("F")); err == nil {
					child.fd, err = unix.PidfdOpen(child.pid, 0)
				}
				if err != nil {
					t.Errorf("no child: %v", err)
				}
				t.Cleanup(func() { child.kill(); unix.Close(child.fd) })
			}
		})
		if r := txn.Apply(context.Background(), v.pid, b, o); r.How != txn.Exchanged || child.pid == 0 {
			t.Fatalf("%+v, child %d", r, child.pid)
		}
		v.want("q", "1001")
		if n := len(code(t, child, "exchanged")); n != 2 {
			t.Errorf("%s: the child has %d mappings of code, not two", point, n)
		}
		if ss, err := states(t, child); err != nil || len(ss) != 0 {
			t.Errorf("%s: status of the child %+v, %v", point, ss, err)
		}
		how(t, child, b, txn.Exchanged)
		if s := state(t, child); s != txn.InForce {
			t.Errorf("%s: status of the child %q", point, s)
		}
		revert(t, child, b, txn.Reverted)
		if c := code(t, child, "exchanged"); len(c) != 1 {
			t.Errorf("%s: mappings of the child %v", point, c)
		}
		child.running()
		v.want("q", "1001")
		v.running()
	}
}

// TestDeletedFileIsExchanged: its pages come from the file all the same.
func TestDeletedFileIsExchanged(t *testing.T) {
	needRoot(t) // only root may open a file through its mapping
	base, b := exchanged(t, "-DENTRY_SHORT")
	other, _ := compile(t, "finishes")
	v := start(t, base)
	if err := os.Rename(other, base); err != nil { // as a package manager does
		t.Fatal(err)
	}
	how(t, v, b, txn.Exchanged)
	v.want("q", "1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
	v.running()
}

// TestSecondHotpatchOfAPage: it finds the page changed, and stops the process;
// the first one can go before it.
func TestSecondHotpatchOfAPage(t *testing.T) {
	base, fixed := compile(t, "quiet", "-DSHORT")
	first := independent(t, byHand(t, base, fixed, "fixed_function"))
	second := independent(t, byHand(t, base, fixed, "second_function"))
	v := start(t, base)
	how(t, v, first, txn.Exchanged)
	how(t, v, second, txn.Stopped)
	v.want("q", "1001 2001")
	revert(t, v, first, txn.Reverted)
	v.want("q", "2 2001")
	revert(t, v, second, txn.Reverted)
	v.want("q", "2 3")
	v.running()
}

// TestExchangedHotpatchIsReplaced: the entry leads straight to the new code, and
// padding is padding again.
func TestExchangedHotpatchIsReplaced(t *testing.T) {
	base, fixed := compile(t, "exchanged", "-DENTRY_SHORT", "-g")
	one := independent(t, named(t, byHand(t, base, fixed, "fixed_function"), "1.0+deb12u1"))
	two := independent(t, named(t, byHand(t, base, fixed, "fixed_function"), "1.0+deb12u2"))
	v := start(t, base)
	how(t, v, one, txn.Exchanged)
	how(t, v, two, txn.Stopped)
	v.want("q", "1001")
	if s := state(t, v); s != txn.InForce {
		t.Errorf("status %q", s)
	}
	revert(t, v, two, txn.Reverted)
	v.want("q", "2")
	flip(t, v, base, "behind", 0)
	how(t, v, one, txn.Exchanged) // everything is as in the file again
	v.want("q", "1001")
	v.running()
}

// TestProcessThatUsesTheRoomForTheCopy: what it mapped there stays.
func TestRoomForTheCopyThatIsTakenIsLeftAlone(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	v := start(t, base)
	done := false
	o := txn.WithStep(txn.Exchanging(txn.Options{Wait: patience}), func(point string) {
		if point == "region-filled" && !done {
			done = true
			if err := txn.TakeSpare(v.pid); err != nil {
				t.Error(err)
			}
		}
	})
	before := anonymous(t, v)
	r := txn.Apply(context.Background(), v.pid, b, o)
	if !done || r.Outcome != txn.Applied || r.How != txn.Stopped {
		t.Fatalf("%+v", r)
	}
	v.want("q", "1001")
	if after := anonymous(t, v); after != before+1 {
		t.Errorf("%d private mappings that nobody may use, not %d", after, before+1)
	}
	if c := code(t, v, "exchanged"); len(c) != 1 {
		t.Errorf("mappings of the program: %v", c)
	}
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
	v.running()
}

func anonymous(t *testing.T, v *victim) (n int) {
	t.Helper()
	maps, err := proc.Maps(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Path == "" && !m.Read && m.Size() == 4096 {
			n++
		}
	}
	return n
}

// TestFailureAtEveryPointOfAnExchange leaves memory and registers as they were,
// until the page is exchanged; then it is in force.
func TestFailureAtEveryPointOfAnExchange(t *testing.T) {
	t.Setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
	for shape, way := range map[string]func(txn.Options) txn.Options{"-DWIDE": txn.Exchanging, "-DSHORT": txn.Apart} {
		base, fixed := compile(t, "quiet", shape)
		b := independent(t, byHand(t, base, fixed, "fixed_function"))
		seen := map[string]int{}
		inForce := 0
		for n := 0; ; n++ {
			v := start(t, base)
			before := snap(t, v)
			o, hit := failing(n)
			o = way(o)
			r := txn.Apply(context.Background(), v.pid, b, o)
			if *hit == "" {
				if r.Outcome != txn.Applied || r.How != txn.Exchanged {
					t.Fatalf("without a failure: %+v", r)
				}
				break
			}
			seen[*hit]++
			after := snap(t, v)
			switch answer := v.ask("q"); {
			case answer == "1001 3":
				if !tooLate[*hit] {
					inForce++
				}
				if s := state(t, v); s != txn.InForce {
					t.Errorf("%s fails (point %d): status %q, %+v", *hit, n, s, r)
				}
				revert(t, v, b, txn.Reverted)
			case r.Outcome != txn.Failed || !strings.Contains(r.Reason, "injected"):
				if !tooLate[*hit] {
					t.Fatalf("%s fails (point %d): %+v", *hit, n, r)
				}
			default:
				if d := before.differs(after); d != "" {
					t.Errorf("%s fails (point %d): not as before:\n%s", *hit, n, d)
				}
			}
			v.want("q", "2 3")
			v.running()
			v.kill()
		}
		// The two points when the call is made and the thread is to be given back.
		if inForce != 2 {
			t.Errorf("%d failures came too late, not two: %v", inForce, seen)
		}
		for _, p := range []string{"page-copied", "copy-written", "copy-verified"} {
			if seen[p] != 1 {
				t.Errorf("%s was not reached: %v", p, seen)
			}
		}
	}
}

// TestKilledToolAtEveryPointOfAnExchange: the process is whole, and the next
// tool finds what was left.
func TestKilledToolAtEveryPointOfAnExchange(t *testing.T) {
	for _, shape := range []string{"-DSHORT", "-DWIDE"} {
		base, fixed := compile(t, "blocked", shape)
		b := independent(t, byHand(t, base, fixed, "fixed_function"))
		file := writeBundle(t, b)
		v := start(t, base)
		clean := len(code(t, v, "blocked"))
		verb := map[string]string{"-DSHORT": "apply", "-DWIDE": "apart"}[shape]
		passed := points(t, verb, v, file)
		if !strings.Contains(fmt.Sprint(passed), "copy-verified") {
			t.Fatalf("nothing was exchanged: %v", passed)
		}
		for _, i := range telling(passed) {
			p, v := passed[i], start(t, base)
			killed(t, toolCmd(t, verb, v, file, i))
			settled(t, v, b, fmt.Sprintf("killed at %d (%s)", i, p))
			if got := v.ask("c"); got != "spurious=0 early=0 woken=0 last=nobody" {
				t.Errorf("killed at %d (%s): %s", i, p, got)
			}
			if c := code(t, v, "blocked"); len(c) != clean {
				t.Errorf("killed at %d (%s): mappings %v", i, p, c)
			}
			v.kill()
		}
		v.kill()
	}
}

// TestCallThatIsMadeLate: a tool died when the thread that it had borrowed was
// about to exchange the page, and the thread comes to it only later. Nobody
// may take the copy away, or believe what the entry holds, before that.
func TestCallThatIsMadeLate(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	file := writeBundle(t, b)
	stopped := func() *victim {
		v := start(t, base)
		if err := syscall.Kill(v.pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if v.state() == 'T' {
				return v
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatal("the victim does not stop")
		return nil
	}
	for _, late := range []struct {
		point  string
		n      int
		answer string
	}{ // the first maps the region
		{"signals-held", 1, "2"},     // makes the copy
		{"registers-set", 2, "1001"}, // takes it, in the same loan
	} {
		v := killedAt(t, file, stopped, late.point, late.n)
		busyWith(t, "a call for an interrupted hotpatch", func(o txn.Options) txn.Result {
			return txn.Apply(context.Background(), v.pid, b, o)
		}, txn.Exchanging(txn.Options{}))
		if err := syscall.Kill(v.pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		v.want("q", late.answer)
		r := txn.Apply(context.Background(), v.pid, b, txn.Exchanging(txn.Options{Wait: patience}))
		if r.Outcome != txn.Applied && r.Outcome != txn.Already {
			t.Fatalf("%+v", r)
		}
		v.want("q", "1001")
		if c := code(t, v, "exchanged"); len(c) != 1 {
			t.Errorf("mappings of the program: %v", c)
		}
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
		v.running()
	}
}

// killedAt starts victims until a tool that applies was killed at the n-th of
// its points of that name: on a busy host it passes now more, now fewer others.
func killedAt(t *testing.T, file string, start func() *victim, point string, n int) *victim {
	t.Helper()
	passed := points(t, "apply", start(), file)
	at := -1
	for i, p := range passed {
		if p != point {
			continue
		}
		if n == 0 {
			at = i
			break
		}
		n--
	}
	if at < 0 {
		t.Fatalf("%s is not among %v", point, passed)
	}
	for range 10 {
		v := start()
		out, err := toolCmd(t, "apply", v, file, at).CombinedOutput()
		got := strings.Fields(string(out))
		if err != nil && len(got) == at+1 && got[at] == point {
			return v
		}
		t.Logf("killed elsewhere: %v, %v", got, err)
	}
	t.Fatal("the tool was not killed")
	return nil
}

// TestPageThatTheKernelTookAwayComesBack: when it had no memory to put the copy
// in its place, and the tool died, too.
func TestPageThatTheKernelTookAwayComesBack(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT", "-DAT_PAGE_END") // with code on more pages
	file := writeBundle(t, b)
	v := killedAt(t, file, func() *victim { return start(t, base) }, "copy-verified", 0)
	if err := txn.TakePage(v.pid); err != nil { // the victim waits in a system call
		t.Fatal(err)
	}
	apply(t, v, b, txn.Already)
	if c := code(t, v, "exchanged"); len(c) != 1 {
		t.Errorf("mappings of the program: %v", c)
	}
	v.want("q", "1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
	v.running()
}

// TestSealedCodeIsNotExchanged: the kernel moves no mapping that is sealed.
func TestSealedCodeIsNotExchanged(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_SHORT")
	v := start(t, base)
	if v.ask("S") != "0" {
		testkit.Skip(t, "the kernel has no mseal")
	}
	how(t, v, b, txn.Stopped)
	v.want("q", "1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
	v.running()
}

// TestEntryBehindTheEntryIsLeftAlone: nothing in the image need lead there, but
// others may.
func TestEntryBehindTheEntryIsLeftAlone(t *testing.T) {
	base, b := exchanged(t, "-DENTRY_ALT", "-rdynamic")
	v := start(t, base)
	how(t, v, b, txn.Stopped)
	v.running()
}

// TestWhatOthersWriteMeanwhileIsKept: a page into which something writes while
// it is about to be exchanged loses nothing, and is not exchanged.
func TestWhatOthersWriteMeanwhileIsKept(t *testing.T) {
	for _, point := range []string{"planned", "region-filled", "page-copied", "copy-verified"} {
		base, b := exchanged(t, "-DENTRY_SHORT")
		v := start(t, base)
		done := false
		o := txn.WithStep(txn.Exchanging(txn.Options{Wait: patience}), func(p string) {
			if p == point && !done {
				done = true
				flip(t, v, base, "behind", 1)
			}
		})
		r := txn.Apply(context.Background(), v.pid, b, o)
		if !done || r.How == txn.Exchanged || !flipped(t, v, base, "behind", 1) {
			t.Errorf("%s: %+v", point, r)
		}
		v.running()
	}
}

// flipped says whether what flip wrote is there.
func flipped(t *testing.T, v *victim, path, name string, bits byte) bool {
	t.Helper()
	mem, at := behind(t, v, path, name)
	var now [1]byte
	if _, err := mem.ReadAt(now[:], at); err != nil {
		t.Fatal(err)
	}
	img := openImage(t, path)
	return now[0] == img.Bytes(function(t, img, name).Lo+1, 1)[0]^bits
}

// TestThreadThatWakesWhileItIsLookedAtIsNotBelieved: its stack was read after it
// had gone on, so that it showed nothing.
func TestThreadThatWakesWhileItIsLookedAtIsNotBelieved(t *testing.T) {
	base, fixed := compile(t, "wakes_lingering", "-DSHORT")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	for range 20 {
		v := start(t, base)
		r := txn.Apply(context.Background(), v.pid, b, txn.Exchanging(txn.Options{Wait: 2 * time.Second}))
		if r.Outcome == txn.Applied && r.How == txn.Exchanged && r.Lingers == "" && v.ask("r") == "loops" {
			t.Errorf("old code lingers, and is not told of: %+v", r)
		}
		v.kill()
	}
}
