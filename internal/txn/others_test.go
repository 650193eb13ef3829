package txn_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/txn"
)

// Threads that an attempt does not stop, or not any more, must not notice that
// they were traced.

func TestIgnoredSignalsInterruptNothingDuringBusyAttempts(t *testing.T) {
	base, fixed := compile(t, "ignored_signals")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	v.want("c", "0")
	attempts := 0
	for range 6 {
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 300 * time.Millisecond})
		if r.Outcome != txn.Busy {
			t.Errorf("%+v", r)
		}
		attempts += r.Attempts
	}
	if v.want("c", "0"); attempts < 12 {
		t.Logf("only %d attempts", attempts)
	}
	v.running()
}

func TestCallsWhoseTimeCannotBeWrittenBackAreNotInterrupted(t *testing.T) {
	base, fixed := compile(t, "sticky")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	for range 5 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	v.want("c", "ppoll 0 pselect 0 select 0 preadv 0")
	v.running()
}

func TestIoctlsThatOnlyWaitAreNotInterrupted(t *testing.T) {
	base, fixed := compile(t, "ioctls")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	was := v.ask("c") // where there is no such terminal
	for range 5 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	v.want("c", was)
	v.running()
}

// A traced thread stands from its next signal on, and its next clone, until its
// tracer looks at it: nobody may be traced while a thread is waited for that
// cannot stop.
func TestOthersRunOnWhileOneThreadCannotStop(t *testing.T) {
	base, fixed := compile(t, "cannot_stop")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	const (
		wait = 1500 * time.Millisecond
		most = 0.4 // of their time; where they stand for every attempt it is nearly all of it
	)
	shares := make([]float64, 0, 3)
	for range cap(shares) { // a busy host gives a tracer no processor at a bad moment
		v.ask("c")
		ctx, stop := context.WithCancel(t.Context())
		traced := make(chan float64)
		go func() { traced <- tracedShare(ctx, v.pid) }()
		r := txn.Apply(t.Context(), v.pid, b, txn.Options{Wait: wait})
		stop()
		share := <-traced
		t.Logf("%d attempts; traced for %.2f of the time; longest without running, for a thread, for work (µs): %s", r.Attempts, share, v.ask("c"))
		if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "uninterruptible sleep") {
			t.Fatalf("%+v", r)
		}
		if share < most {
			return
		}
		shares = append(shares, share)
	}
	t.Errorf("threads that can stop were traced for %.2f of the time that one was waited for that cannot", shares)
}

// tracedShare looks at the threads of pid again and again until ctx ends: at how
// many of all these looks was one traced? Threads in uninterruptible sleep do not
// count.
func tracedShare(ctx context.Context, pid int) float64 {
	var looks, traced int
	for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, task := range tasks {
			status, err := os.ReadFile(task)
			if err != nil || bytes.Contains(status, []byte("State:\tD")) {
				continue // it is gone
			}
			looks++
			if !bytes.Contains(status, []byte("TracerPid:\t0\n")) {
				traced++
			}
		}
	}
	return float64(traced) / float64(max(looks, 1))
}
