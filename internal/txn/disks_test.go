package txn_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestFileThatDoesNotAnswerHoldsUpNoListing of a filesystem whose daemon (FUSE) is
// silent; a process chooses what its images are called.
func TestFileThatDoesNotAnswerHoldsUpNoListing(t *testing.T) {
	silent := t.TempDir()
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	testkit.Need(t, err == nil, "/dev/fuse")
	answer := sync.OnceFunc(func() { unix.Close(fuse) }) // the end of the daemon
	defer answer()
	err = unix.Mount("silent", silent, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse))
	testkit.Need(t, err == nil, "leave to mount")
	defer unix.Unmount(silent, unix.MNT_DETACH)
	pids := []int{os.Getppid(), os.Getpid()}
	of := [][]txn.State{
		{{Images: []txn.StateImage{{Path: silent + "/image"}}}},
		{{Images: []txn.StateImage{{Path: "/nowhere"}}}},
	}
	time.AfterFunc(30*time.Second, answer)
	begin := time.Now()
	txn.Disks(pids, of)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if silent, other := of[0][0].Images[0].Disk, of[1][0].Images[0].Disk; silent != txn.DiskUnknown || other != txn.DiskGone {
		t.Errorf("%q and %q", silent, other)
	}
}
