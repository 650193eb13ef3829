package txn_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestToolsWithMountsOfTheirOwnTakeTurns: the files in /proc that they lock are not
// the same.
func TestToolsWithMountsOfTheirOwnTakeTurns(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	defer txn.AgreeOn(os.Getpid())()
	v := start(t, base)
	var other txn.Result
	elsewhere := func() {
		done := make(chan error)
		onOtherThread(func() {
			err := unix.Unshare(unix.CLONE_NEWNS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Mount("proc", "/proc", "proc", 0, "")
			}
			if err == nil {
				other = txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 50 * time.Millisecond})
			}
			done <- err
		})
		if err := <-done; err != nil {
			t.Fatalf("mount /proc: %v", err)
		}
	}
	asked := false
	r := txn.Apply(context.Background(), v.pid, b, txn.WithStep(txn.Options{}, func(point string) {
		if point == "region-filled" && !asked {
			asked = true
			elsewhere()
		}
	}))
	if other.Outcome != txn.Busy || !strings.Contains(other.Reason, "another hotpatch is at work on it") {
		t.Errorf("the other tool: %+v", other)
	}
	if r.Outcome != txn.Applied {
		t.Errorf("%+v", r)
	}
	v.want("q", "1001")
	v.running()
}

// onOtherThread runs f on a thread that ends with it, with all that f does to its
// mounts. It is not the process's first one: what that sees counts as the process's.
func onOtherThread(f func()) {
	go func() {
		runtime.LockOSThread() // never unlocked
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		onOtherThread(func() { f(); close(done) })
		<-done
	}()
}
