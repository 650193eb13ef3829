package txn_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// TestTransfersThatEndSoonAreWaitedFor: one that has moved something and is
// interrupted says so, and does not go on.
func TestTransfersThatEndSoonAreWaitedFor(t *testing.T) {
	base, fixed := compile(t, "transfers")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	waited := false
	// Nobody is borrowed that is in one, though the first thread is.
	o := txn.WithStep(txn.Options{Wait: time.Minute}, func(point string) {
		if point == "transfer-seen" && !waited {
			waited = true
			v.want("c", "0 0 0")
			v.want("d", "drained")
		}
	})
	r := txn.Apply(context.Background(), v.pid, b, o)
	if r.Outcome != txn.Applied || !waited {
		t.Errorf("%+v", r)
	}
	v.want("c", "262144 262144 262144")
	v.want("q", "1001")
	v.running()
}

// TestTransfersThatDoNotEndAreNotWaitedForLong: then some of them are short.
func TestTransfersThatDoNotEndAreNotWaitedForLong(t *testing.T) {
	base, fixed := compile(t, "transfers")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	apply(t, v, b, txn.Applied)
	v.want("q", "1001")
	v.running()
}

// TestRingThatIsWaitedForIsNotDisturbed: the call would say that all is handed in,
// and not that nothing has ended.
func TestRingThatIsWaitedForIsNotDisturbed(t *testing.T) {
	base, fixed := compile(t, "ring")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	for end := time.Now().Add(time.Minute); !inCall(v.pid, unix.SYS_IO_URING_ENTER); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not wait for its ring")
		}
	}
	waited := false
	o := txn.WithStep(txn.Options{Wait: time.Minute}, func(point string) {
		if point == "transfer-seen" && !waited {
			waited = true
			v.want("c", "returned -1 ended -1")
			v.want("d", "done")
		}
	})
	r := txn.Apply(context.Background(), v.pid, b, o)
	if r.Outcome != txn.Applied || !waited {
		t.Errorf("%+v", r)
	}
	v.want("c", "returned 1 ended 1")
	v.want("q", "1001")
	v.running()
}

// inCall says whether a thread sleeps in that call.
func inCall(pid int, call int64) bool {
	tids, _ := proc.Threads(pid)
	return slices.ContainsFunc(tids, func(tid int) bool {
		s, err := proc.ReadSyscall(pid, tid)
		return err == nil && !s.Running && s.Number == call
	})
}
