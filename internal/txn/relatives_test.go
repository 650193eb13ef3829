package txn_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

// Processes that others watch over: a parent that waits for them, a tracer.

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("victim says %q, not a number", s)
	}
	return n
}

// TestParentNoticesNothing of our stops, but everything that concerns it.
func TestParentNoticesNothing(t *testing.T) {
	base, fixed := compile(t, "family")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	child := &victim{t: t, pid: number(t, v.ask("p"))}
	for range 15 {
		apply(t, child, b, txn.Applied)
		v.want("c", "1001")
		revert(t, child, b, txn.Reverted)
		v.want("c", "2")
	}
	v.want("w", "stops=0 continues=0 ends=0 signals=0")

	v.want("s", "stopped") // a real stop is its own to see, once
	apply(t, child, b, txn.Applied)
	waitState(t, child, 'T')
	v.want("w", "stops=1 continues=0 ends=0 signals=1")
	v.want("t", "continued")
	v.want("c", "1001")
	v.want("w", "stops=1 continues=1 ends=0 signals=2")
	v.want("k", "killed")
	for range 1000 {
		if strings.Contains(v.ask("w"), "ends=1") {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the child's end: %s", v.ask("w"))
}

func TestTracedProcessIsLeftToItsTracer(t *testing.T) {
	base, fixed := compile(t, "family")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "traces")
	child := &victim{t: t, pid: number(t, v.ask("p"))}
	r := txn.Apply(context.Background(), child.pid, b, txn.Options{})
	if r.Outcome != txn.Denied || !strings.Contains(r.Reason, fmt.Sprintf("traced by process %d", v.pid)) {
		t.Errorf("%+v", r)
	}
	v.want("c", "2")
	apply(t, v, b, txn.Applied) // the tracer itself is a process like any other
	v.want("q", "1001")
	v.want("k", "killed")
}

// TestAnotherProgramInTheMiddle of a transaction, whose memory a relative keeps:
// what is written must be the memory of the program that runs.
func TestAnotherProgramInTheMiddle(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	for _, point := range []string{"planned", "region-filled", "seized"} {
		// With addresses that are not random, old and new memory look alike.
		for _, how := range []string{"heir", "heir-fixed"} {
			t.Run(point+" "+how, func(t *testing.T) {
				v := start(t, base, how)
				done := false
				o := txn.WithStep(txn.Options{}, func(p string) {
					if p == point && !done {
						done = true
						v.want("x", fmt.Sprintf("ready %d", v.pid))
					}
				})
				r := txn.Apply(context.Background(), v.pid, b, o)
				if r.Outcome != txn.Applied || !done {
					t.Errorf("%+v", r)
				}
				v.want("q", "1001")
			})
		}
	}
}

// TestRelativeBornInTheMiddleOfTheStop shares the memory and would run on, while
// entries are written and in the functions that are replaced.
func TestRelativeBornInTheMiddleOfTheStop(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	for _, how := range []string{"late-heir", "late-heir-silent"} {
		t.Run(how, func(t *testing.T) {
			v := start(t, base, how)
			done := false
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			o := txn.WithStep(txn.Options{Wait: patience}, func(p string) {
				if p == "sleepers-stopped" && !done {
					done = true
					time.AfterFunc(100*time.Millisecond, cancel)
					v.set(base, "leave", 1)
					for began := time.Now(); ; time.Sleep(time.Millisecond) {
						children, err := proc.Children(v.pid)
						if err != nil || time.Since(began) > 5*time.Second {
							t.Errorf("no child is born: %v", err)
							return
						}
						if len(children) > 0 {
							return
						}
					}
				}
			})
			r := txn.Apply(ctx, v.pid, b, o)
			if r.Outcome != txn.Busy || !done {
				t.Errorf("%+v", r)
			}
			if !strings.Contains(r.Reason, "shares its memory with process") {
				t.Logf("the host is busy, too: %s", r.Reason)
			}
			v.want("q", "2")
		})
	}
}

// set writes a variable of the victim's program.
func (v *victim) set(file, name string, value byte) {
	v.t.Helper()
	modules, err := proc.Modules(v.pid)
	if err != nil {
		v.t.Fatal(err)
	}
	mem, err := ptrace.OpenMem(v.pid)
	if err != nil {
		v.t.Fatal(err)
	}
	defer mem.Close()
	for _, s := range openImage(v.t, file).Symbols {
		if s.Name == name {
			if _, err := mem.WriteAt([]byte{value}, int64(modules[0].Bias)+int64(s.Addr)); err != nil {
				v.t.Fatal(err)
			}
			return
		}
	}
	v.t.Fatalf("%s has no variable %s", file, name)
}

// TestRelativeThatAnotherThreadInherits was started by the first thread, which has
// ended. Who inherits it may be no thread of the program.
func TestRelativeThatAnotherThreadInherits(t *testing.T) {
	base, fixed := compile(t, "heirs")
	b := byHand(t, base, fixed, "fixed_function")
	for _, how := range []string{"thread", "worker", "ended"} {
		t.Run(how, func(t *testing.T) {
			v := start(t, base, how)
			children := childrenOf(t, v.pid)
			if len(children) != 1 {
				t.Fatalf("children %v", children)
			}
			defer unix.Kill(children[0], unix.SIGKILL)
			heir := 0
			tids, err := proc.Threads(v.pid)
			if err != nil {
				t.Fatal(err)
			}
			for _, tid := range tids {
				if own, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", v.pid, tid)); len(own) > 0 {
					heir = tid
				}
			}
			if worker, err := txn.KernelWorker(v.pid, heir); heir == v.pid || err != nil || worker != (how == "worker") {
				t.Fatalf("the child is that of %d among %v", heir, tids)
			}
			r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 200 * time.Millisecond})
			if how == "ended" {
				if r.Outcome != txn.Applied {
					t.Errorf("%+v", r)
				}
				v.want("q", "1001")
				return
			}
			if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "shares its memory with process") {
				t.Errorf("%+v", r)
			}
			v.want("q", "2")
		})
	}
}
