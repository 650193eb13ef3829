package txn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/txn"
)

// TestProcessThatTakesLongToStartAnotherProgramIsNotWaitedFor: the kernel lets
// nobody trace one more of its threads until it has, or has failed to.
func TestProcessThatTakesLongToStartAnotherProgramIsNotWaitedFor(t *testing.T) {
	base, fixed := compile(t, "slow_exec")
	b := byHand(t, base, fixed, "fixed_function")
	o := txn.Options{Wait: 300 * time.Millisecond}
	for _, how := range []string{"borrowed", "stopped"} { // what its threads would be first
		t.Run(how, func(t *testing.T) {
			v := start(t, base, t.TempDir())
			answers := "2"
			if how == "stopped" {
				apply(t, v, b, txn.Applied)
				answers = "1001"
			}
			v.want("e", "begun")
			var r txn.Result
			if how == "borrowed" {
				r = txn.Apply(context.Background(), v.pid, b, o)
			} else {
				r = txn.Revert(context.Background(), v.pid, id(t, b), o)
			}
			if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "starting another program") {
				t.Errorf("%+v", r)
			}
			v.want("s", "starting")
			v.running()
			v.want("q", answers)
			v.want("f", "failed")
			if how == "borrowed" {
				apply(t, v, b, txn.Applied)
				v.want("q", "1001")
			} else {
				revert(t, v, b, txn.Reverted)
				v.want("q", "2")
			}
			v.running()
		})
	}
}
