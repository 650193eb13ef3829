package txn_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// After a stop the kernel goes on with a sleep by a system call of its own
// (restart_syscall), which not every seccomp filter knows.

func TestFilterThatDoesNotKnowHowSleepsGoOn(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "no_restart")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	for range 5 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	v.want("c", "back=0 early=0 last=nobody")
	v.running()
}

// TestFilterIsSeenWithoutPrivilege: the request that tells is for the privileged.
func TestFilterIsSeenWithoutPrivilege(t *testing.T) {
	base, _ := compile(t, "no_restart")
	v := start(t, base)
	for _, privileged := range []bool{true, false, true, false} {
		stopOnce(t, v, privileged, nil)
	}
	v.want("c", "back=0 early=0 last=nobody")
}

// TestSleepsUnderAFilterGoOnAgain: a sleep that was gone on with before, as after
// SIGSTOP and SIGCONT, has got past the filter, and says not which call it was.
func TestSleepsUnderAFilterGoOnAgain(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "allowing_filter")
	b := byHand(t, base, fixed, "fixed_function")
	for _, args := range [][]string{nil, {"one"}} {
		v := start(t, base, args...)
		for range 2 {
			stopAndContinue(t, v)
			apply(t, v, b, txn.Applied)
			v.want("c", "back=0 err=0")
			stopAndContinue(t, v)
			revert(t, v, b, txn.Reverted)
			v.want("c", "back=0 err=0")
		}
		v.running()
	}
}

// stopAndContinue has the kernel go on with the sleeps of all threads.
func stopAndContinue(t *testing.T, v *victim) {
	t.Helper()
	if err := unix.Kill(v.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitState(t, v, 'T')
	if err := unix.Kill(v.pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitState(t, v, 'S')
	v.ask("c")
}

// TestFilterThatDoesNotKnowHowSleepsGoOnComesLate: a thread that still runs, while
// the sleeping ones stand, asks for the filter for all of them; or it does while a
// sleeping one is borrowed.
func TestFilterThatDoesNotKnowHowSleepsGoOnComesLate(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "no_restart")
	b := byHand(t, base, fixed, "fixed_function")
	for _, at := range []string{"sleepers-stopped", "signals-held"} {
		t.Run(at, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "now")
			args := []string{file}
			if at == "sleepers-stopped" {
				args = append(args, "unborrowed") // the first thread does not sleep in such a call
			}
			v := start(t, base, args...)
			waitState(t, v, 'S') // so that it is borrowed, and no other
			came := false
			o := txn.WithStep(txn.Options{Wait: patience}, func(point string) {
				if point != at || came {
					return
				}
				came = true
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Error(err)
				}
				for range 1000 {
					if is, err := proc.ReadRights(v.pid, v.pid); err != nil || is.Seccomp != 0 {
						return
					}
					time.Sleep(time.Millisecond)
				}
				t.Error("no filter came")
			})
			r := txn.Apply(context.Background(), v.pid, b, o)
			if r.Outcome != txn.Applied || !came {
				t.Errorf("%+v", r)
			}
			v.want("q", "1001")
			if r.Attempts == 1 { // after another it cannot be told what the call was
				v.want("c", "back=0 early=0 last=nobody")
			}
			v.running()
		})
	}
}
