package txn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/txn"
)

// TestCallThatADaemonOfFilesIsAtIsNotGivenUp: the daemon of a file system in user
// space is told of the interruption, and the call may end with EINTR.
func TestCallThatADaemonOfFilesIsAtIsNotGivenUp(t *testing.T) {
	base, fixed := compile(t, "userfiles")
	b := byHand(t, base, fixed, "fixed_function")
	for _, call := range []string{"open", "write"} {
		t.Run(call, func(t *testing.T) {
			v := start(t, base, t.TempDir(), call)
			r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 300 * time.Millisecond})
			if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "file system in user space") {
				t.Errorf("%+v", r)
			}
			v.want("c", "interrupted 0 returned 0")
			v.want("a", "answered")
			v.want("c", "interrupted 0 returned 1000")
			apply(t, v, b, txn.Applied)
			v.want("q", "1001")
			v.running()
		})
	}
}

// TestDaemonOfFilesIsPatchedWhileItWaitsForRequests: that is no call that somebody
// else is at, however long it lasts.
func TestDaemonOfFilesIsPatchedWhileItWaitsForRequests(t *testing.T) {
	base, fixed := compile(t, "filesdaemon")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, t.TempDir())
	if r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: time.Second}); r.Outcome != txn.Applied {
		t.Errorf("%+v", r)
	}
	v.want("q", "1001")
	v.running()
}
