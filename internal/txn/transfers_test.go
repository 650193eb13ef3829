package txn_test

import (
	"context"
	"testing"
	"time"

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
