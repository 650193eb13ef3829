package txn_test

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
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

// TestReadOfAThreadThatFailsIsAnError: that a thread is a worker of the kernel, that it
// cannot stop, that somebody else is at its call, or that it dumps core must not be
// taken for untrue because a file could not be opened.
func TestReadOfAThreadThatFailsIsAnError(t *testing.T) {
	base, _ := compile(t, "confined")
	v := start(t, base)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(meanwhile func()) error{
		"user threads":  func(m func()) error { _, err := txn.UserThreads(v.pid, m); return err },
		"idle":          func(m func()) error { return txn.Idle(v.pid, m) },
		"kernel worker": func(m func()) error { m(); _, err := txn.KernelWorker(v.pid, v.pid); return err },
		"delicacy":      func(m func()) error { m(); return txn.Delicacy(v.pid) },
		"awaits":        func(m func()) error { m(); return txn.Awaits(v.pid) },
		"not dumping":   func(m func()) error { m(); return txn.NotDumping(v.pid) },
		"frozen":        func(m func()) error { m(); _, err := proc.Frozen(v.pid); return err },
	} {
		t.Run(name, func(t *testing.T) {
			if err := read(func() {}); err != nil {
				t.Errorf("with means: %v", err)
			}
			err := func() error {
				defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
				return read(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}) })
			}()
			if !errors.Is(err, unix.EMFILE) {
				t.Errorf("without: %v", err)
			}
		})
	}
}
