package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// The test binary is also the tool that gets killed: with HOTPATCH_TEST_TOOL
// set it does one apply or revert and kills itself at the n-th point.
func TestMain(m *testing.M) {
	if os.Getenv("HOTPATCH_TEST_TOOL") != "" {
		os.Exit(tool(os.Args[1:]))
	}
	code := m.Run()
	if victims.path != "" {
		_ = os.RemoveAll(victims.path)
	}
	os.Exit(code)
}

// tool apply|apart|revert PID BUNDLE N (apart: with a loan for each call): N < 0 lets it finish. It prints each point.
// tool fail PID BUNDLE N fails once all threads are stopped, and is killed while
// a thread is lent to it to unmap what it had brought.
func tool(args []string) int {
	pid, _ := strconv.Atoi(args[1])
	at, _ := strconv.Atoi(args[3])
	b, err := patch.ReadFile(args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	n := 0
	o := txn.WithStep(txn.Exchanging(txn.Options{Wait: patience}), func(point string) {
		fmt.Println(point)
		if n == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		n++
	})
	var r txn.Result
	switch args[0] {
	case "apart":
		o = txn.Apart(o)
		fallthrough
	case "apply":
		r = txn.Apply(context.Background(), pid, b, o)
	case "fail":
		failed := false
		r = txn.Apply(context.Background(), pid, b, txn.WithFail(txn.Options{Wait: time.Second}, func(point string) error {
			if failed && point == "signals-held" {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			if failed = failed || point == "stopped"; point == "stopped" {
				return errors.New("it fails")
			}
			return nil
		}))
	default:
		id, _ := b.ID()
		r = txn.Revert(context.Background(), pid, id, o)
	}
	fmt.Fprintln(os.Stderr, r.Outcome, r.Reason)
	return 0
}

func toolCmd(t *testing.T, verb string, v *victim, file string, n int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], verb, itoa(v.pid), file, itoa(n))
	cmd.Env = append(os.Environ(), "HOTPATCH_TEST_TOOL=1")
	return cmd
}

// points runs the tool to its end and returns the points it passed.
func points(t *testing.T, verb string, v *victim, file string) []string {
	t.Helper()
	out, err := toolCmd(t, verb, v, file, -1).Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", verb, err, out)
	}
	return strings.Fields(string(out))
}

// long says that the tests may take their time.
func long() bool { return os.Getenv("HOTPATCH_TEST_KILLS") != "" }

// telling picks the points to be killed at: of several equal ones in a row the
// first and the last; in a long run all of them.
func telling(points []string) (at []int) {
	for i, p := range points {
		within := i > 0 && points[i-1] == p && i+1 < len(points) && points[i+1] == p
		if long() || !within {
			at = append(at, i)
		}
	}
	return at
}

func writeBundle(t *testing.T, b *patch.Bundle) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.hotpatch")
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// settled brings a victim whose tool was killed back to the old code, and
// fails unless it was wholly old or wholly new and stays well.
func settled(t *testing.T, v *victim, b *patch.Bundle, when string) {
	t.Helper()
	if got := v.ask("q"); got != "2" && got != "1001" {
		t.Fatalf("%s: victim answers %q", when, got)
	}
	r := txn.Apply(context.Background(), v.pid, b, txn.Exchanging(txn.Options{Wait: patience}))
	if r.Outcome != txn.Applied && r.Outcome != txn.Already {
		t.Fatalf("%s: apply afterwards: %s (%s)", when, r.Outcome, r.Reason)
	}
	v.want("q", "1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
	v.running()
}

func TestKilledToolAtEveryPointLeavesTheProcessWhole(t *testing.T) {
	base, fixed := compile(t, "blocked")
	b := byHand(t, base, fixed, "fixed_function")
	file := writeBundle(t, b)
	v := start(t, base)
	applying := points(t, "apply", v, file)
	reverting := points(t, "revert", v, file)
	if len(applying) < 12 || len(reverting) < 5 {
		t.Fatalf("too few points: %v, %v", applying, reverting)
	}
	kills := 0
	for i, p := range applying {
		fresh := start(t, base) // mapping happens once in a process
		if killed(t, toolCmd(t, "apply", fresh, file, i)) {
			kills++
		}
		settled(t, fresh, b, fmt.Sprintf("apply killed at %d (%s)", i, p))
		fresh.want("c", "spurious=0 early=0 woken=0 last=nobody")
		fresh.kill()
	}
	for i, p := range reverting {
		apply(t, v, b, txn.Applied)
		killed(t, toolCmd(t, "revert", v, file, i))
		settled(t, v, b, fmt.Sprintf("revert killed at %d (%s)", i, p))
	}
	if kills < 10 {
		t.Errorf("only %d kills at %d points", kills, len(applying))
	}
	v.want("c", "spurious=0 early=0 woken=0 last=nobody")
}

// TestKilledWhileTheProcessOpensItsMemory: a tool that may trace, and is not
// permitted to open the memory file, dies at each point of having it opened.
func TestKilledWhileTheProcessOpensItsMemory(t *testing.T) {
	p := needPeople(t)
	base, fixed := compile(t, "blocked")
	b := byHand(t, base, fixed, "fixed_function")
	file := public(t, writeBundle(t, b), 0o644)
	tool, program := public(t, os.Args[0], 0o755), public(t, base, 0o755)
	who := p.user(ordinary, "sys_ptrace")
	command := append(p.user(stranger), program)
	apply := func(v *victim, at int) *exec.Cmd {
		cmd := exec.Command(who[0], append(who[1:], tool, "apply", itoa(v.pid), file, itoa(at))...)
		cmd.Env = append(os.Environ(), "HOTPATCH_TEST_TOOL=1")
		return cmd
	}
	v := start(t, command[0], command[1:]...)
	out, err := apply(v, -1).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	v.want("q", "1001")
	all := strings.Fields(string(out))
	given := slices.Index(all, "given-back")
	if given < 0 || !slices.Contains(all[:given], "stub-written") {
		t.Fatalf("no loan: %v", all)
	}
	kills := 0
	for i, point := range all[:given+2] {
		v := start(t, command[0], command[1:]...)
		files := openFiles(t, v.pid)
		if killed(t, apply(v, i)) {
			kills++
		}
		when := fmt.Sprintf("killed at %d (%s)", i, point)
		settled(t, v, b, when)
		v.want("c", "spurious=0 early=0 woken=0 last=nobody")
		// The thread closes the file when it has a processor.
		for end := time.Now().Add(10 * time.Second); openFiles(t, v.pid) != files; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%s: %d open files, %d before", when, openFiles(t, v.pid), files)
				break
			}
		}
		v.kill()
	}
	if kills < given {
		t.Errorf("only %d kills at %d points", kills, given)
	}
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// killed runs a tool that kills itself. It may finish instead: one attempt more
// or less on a busy host, and a run passes other points than the one before.
func killed(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	_, ok := killedWhere(t, cmd)
	return ok
}

// killedWhere is killed and tells the last point that was passed this time.
func killedWhere(t *testing.T, cmd *exec.Cmd) (point string, ok bool) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if passed := strings.Fields(string(out)); len(passed) > 0 {
		point = passed[len(passed)-1]
	}
	if err == nil {
		t.Logf("%v passed fewer points this time", cmd.Args[1:])
		return point, false
	}
	var e *exec.ExitError
	if !errors.As(err, &e) || !e.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("the tool was not killed: %v\n%s", err, out)
	}
	return point, true
}

// TestKilledToolAtRandom kills at random instants, between the points too.
// HOTPATCH_TEST_KILLS sets the number of rounds.
func TestKilledToolAtRandom(t *testing.T) {
	rounds := 16
	if n, err := strconv.Atoi(os.Getenv("HOTPATCH_TEST_KILLS")); err == nil {
		rounds = n
	}
	base, fixed := compile(t, "blocked")
	t.Run("all stopped", func(t *testing.T) {
		killAtRandom(t, base, byHand(t, base, fixed, "fixed_function"), rounds)
	})
	base, fixed = compile(t, "blocked", "-DSHORT")
	t.Run("a page exchanged", func(t *testing.T) {
		killAtRandom(t, base, independent(t, byHand(t, base, fixed, "fixed_function")), rounds)
	})
}

func killAtRandom(t *testing.T, base string, b *patch.Bundle, rounds int) {
	file := writeBundle(t, b)
	v := start(t, base)
	begin := time.Now()
	points(t, "apply", v, file)
	whole := time.Since(begin)
	revert(t, v, b, txn.Reverted)
	hits := 0
	for i := range rounds {
		verb := "apply"
		if i%2 == 1 {
			verb = "revert"
			apply(t, v, b, txn.Applied)
		}
		cmd := toolCmd(t, verb, v, file, -1)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(whole * 6 / 5))
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err != nil {
			hits++
		}
		settled(t, v, b, fmt.Sprintf("round %d, %s", i, verb))
	}
	// A kill between a thread's stop and our next instruction is the one case
	// in which a sleeping thread sees EINTR: nobody is left to hide the stop.
	t.Logf("%d of %d kills landed before the end; sleeping threads: %s", hits, rounds, v.ask("c"))
}

func TestProcessThatDiesAtAnyPointIsReportedAsDied(t *testing.T) {
	base, fixed := compile(t, "blocked")
	b := byHand(t, base, fixed, "fixed_function")
	count := func(v *victim, do func(txn.Options) txn.Result, die int) (txn.Result, int) {
		n := 0
		return do(txn.WithStep(txn.Options{}, func(string) {
			if n == die {
				_ = unix.PidfdSendSignal(v.fd, unix.SIGKILL, nil, 0)
				v.ended() // not wholly, as long as it is traced
			}
			n++
		})), n
	}
	v := start(t, base)
	applying := func(v *victim) func(o txn.Options) txn.Result {
		return func(o txn.Options) txn.Result { return txn.Apply(context.Background(), v.pid, b, o) }
	}
	reverting := func(v *victim) func(o txn.Options) txn.Result {
		return func(o txn.Options) txn.Result { return txn.Revert(context.Background(), v.pid, id(t, b), o) }
	}
	_, there := count(v, applying(v), -1)
	_, back := count(v, reverting(v), -1)
	for i := range there {
		v := start(t, base)
		if r, _ := count(v, applying(v), i); r.Outcome != txn.Died && i < there-1 {
			t.Errorf("apply, death at point %d of %d: %s (%s)", i, there, r.Outcome, r.Reason)
		}
		v.kill()
	}
	for i := range back {
		v := start(t, base)
		apply(t, v, b, txn.Applied)
		if r, _ := count(v, reverting(v), i); r.Outcome != txn.Died && i < back-1 {
			t.Errorf("revert, death at point %d of %d: %s (%s)", i, back, r.Outcome, r.Reason)
		}
		v.kill()
	}
}

// TestCodeThatIsUnmappedLate: a thread that was lent to a tool to unmap its code
// may do so long after that tool has died. Nothing is brought there before.
func TestCodeThatIsUnmappedLate(t *testing.T) {
	base, fixed := compile(t, "quiet")
	b := byHand(t, base, fixed, "fixed_function")
	file := writeBundle(t, b)
	v := start(t, base)
	before := v.ask("q")
	if err := syscall.Kill(v.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitState(t, v, 'T')
	out, err := toolCmd(t, "fail", v, file, 0).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the first tool was not killed: %v\n%s", err, out)
	}
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 300 * time.Millisecond})
	if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "a call for an interrupted hotpatch") {
		t.Errorf("while the call is still to come: %+v", r)
	}
	if err := syscall.Kill(v.pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	v.want("q", before)
	apply(t, v, b, txn.Applied)
	if after := v.ask("q"); after == before {
		t.Errorf("it still answers %s", after)
	}
	v.running()
}

// TestKilledToolLosesNoSignal: a thread stood right before the handler of a signal
// when the tool died.
func TestKilledToolLosesNoSignal(t *testing.T) {
	base, fixed := compile(t, "signals")
	b := byHand(t, base, fixed, "fixed_function")
	file := writeBundle(t, b)
	v := start(t, base)
	points(t, "apply", v, file)
	stopped := slices.Index(points(t, "revert", v, file), "stopped")
	if stopped < 0 {
		t.Fatal("nobody was stopped")
	}
	sent := 0
	for range 15 {
		points(t, "apply", v, file)
		over, count := make(chan struct{}), make(chan int)
		go func() {
			for n := 0; ; {
				select {
				case <-over:
					count <- n
					return
				default:
				}
				if unix.Kill(v.pid, 34) == nil { // SIGRTMIN of glibc
					n++
				}
				pause := unix.NsecToTimespec(30_000)
				_ = unix.Nanosleep(&pause, nil)
			}
		}()
		killed(t, toolCmd(t, "revert", v, file, stopped))
		close(over)
		sent += <-count
	}
	for range 100 {
		if v.ask("n") == itoa(sent) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	v.want("n", itoa(sent))
	v.running()
}
