package txn_test

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"hotpatch/internal/txn"
)

// TestToolWithoutMeansDoesNotTakeAProcessForDead: one that has no files left cannot
// look at the process any more, which lives.
func TestToolWithoutMeansDoesNotTakeAProcessForDead(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"planned", "region-filled", "seized"} {
		t.Run(at, func(t *testing.T) {
			v := start(t, base)
			r := func() txn.Result {
				defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
				return txn.Apply(context.Background(), v.pid, b, txn.WithStep(txn.Options{}, func(point string) {
					if point == at {
						_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max})
					}
				}))
			}()
			if r.Outcome != txn.Failed && r.Outcome != txn.Busy && r.Outcome != txn.Applied {
				t.Errorf("%+v", r)
			}
			t.Logf("%+v", r)
			v.running()
			apply(t, v, b, map[bool]txn.Outcome{true: txn.Already, false: txn.Applied}[r.Outcome == txn.Applied])
			v.want("q", "1001")
		})
	}
}
