package txn_test

import (
	"context"
	"fmt"
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

// A traced thread stands from its next signal on, and its next clone, until its
// tracer looks at it: nobody may be traced while a thread is waited for that
// cannot stop.
func TestOthersRunOnWhileOneThreadCannotStop(t *testing.T) {
	base, fixed := compile(t, "cannot_stop")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	gaps := func() (signalled, starting, vforking time.Duration) {
		var s, c, f int64
		if _, err := fmt.Sscan(v.ask("c"), &s, &c, &f); err != nil {
			t.Fatal(err)
		}
		return time.Duration(s) * time.Microsecond, time.Duration(c) * time.Microsecond, time.Duration(f) * time.Microsecond
	}
	const wait, most = 1500 * time.Millisecond, 120 * time.Millisecond // an attempt that traces them takes 200 ms
	var worst string
	for range 5 {
		gaps()
		time.Sleep(wait)
		if s, c, f := gaps(); max(s, c, f) > most/3 {
			continue // the host is busy
		}
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: wait})
		if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "uninterruptible sleep") {
			t.Errorf("%+v", r)
		}
		s, c, f := gaps()
		if max(s, c, f) < most {
			return
		}
		worst = fmt.Sprintf("a thread that gets signals stood for %v, one that starts threads took %v, one that was in vfork stood for %v, in %d attempts", s, c, f, r.Attempts)
	}
	if worst != "" {
		t.Error(worst)
	}
}
