package txn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestThrottledProcessNoticesNothing: a process that has used up the processor
// limit of its cgroup stands when it gets a processor again, and not before. It
// is waited for; a thread that was given up would see the stop that nobody hides
// from it.
func TestThrottledProcessNoticesNothing(t *testing.T) {
	needRoot(t) // who may limit others
	for _, c := range []struct {
		name          string
		how           txn.How
		period, quota time.Duration
		rounds        int // 0: it need not succeed in this time
	}{
		{"a tenth of a processor", txn.Stopped, 100 * time.Millisecond, 10 * time.Millisecond, 5},
		{"a tenth of a processor", txn.Exchanged, 100 * time.Millisecond, 10 * time.Millisecond, 5},
		{"next to nothing", txn.Stopped, time.Second, time.Millisecond, 0},
	} {
		t.Run(c.name+", "+string(c.how), func(t *testing.T) {
			base, fixed := compile(t, "blocked", "-DSHORT")
			b := byHand(t, base, fixed, "fixed_function")
			if c.how == txn.Exchanged {
				b = independent(t, b)
			}
			id, err := b.ID()
			if err != nil {
				t.Fatal(err)
			}
			v := start(t, base)
			throttle(t, v.pid, c.period, c.quota)
			o := txn.Exchanging(txn.Options{Wait: 2 * time.Second})
			for range c.rounds {
				if r := txn.Apply(context.Background(), v.pid, b, o); r.Outcome != txn.Applied {
					t.Errorf("%+v", r)
				}
				if r := txn.Revert(context.Background(), v.pid, id, o); r.Outcome != txn.Reverted {
					t.Errorf("%+v", r)
				}
			}
			if c.rounds == 0 {
				r := txn.Apply(context.Background(), v.pid, b, o)
				t.Log(r.Outcome, r.Reason)
			}
			v.want("c", "spurious=0 early=0 woken=0 last=nobody")
			v.running()
		})
	}
}

// throttle lets a process run for quota in each period at most, beside one that
// uses up as much as it gets.
func throttle(t *testing.T, pid int, period, quota time.Duration) {
	t.Helper()
	hog := exec.Command("sh", "-c", "while :; do :; done")
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/sys/fs/cgroup", "hotpatch-test-"+itoa(pid))
	limit := map[string]string{"cpu.max": fmt.Sprintf("%d %d", quota.Microseconds(), period.Microseconds())}
	if _, err := os.Stat("/sys/fs/cgroup/cpu"); err == nil { // version 1
		dir = filepath.Join("/sys/fs/cgroup/cpu", filepath.Base(dir))
		limit = map[string]string{"cpu.cfs_period_us": fmt.Sprint(period.Microseconds()), "cpu.cfs_quota_us": fmt.Sprint(quota.Microseconds())}
	}
	t.Cleanup(func() {
		_ = hog.Process.Kill()
		_ = hog.Wait()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for range 1000 {
			if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%s stays", dir)
	})
	err := os.Mkdir(dir, 0o755)
	for name, to := range limit {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(to), 0)
		}
	}
	for _, p := range []int{pid, hog.Process.Pid} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(itoa(p)), 0)
		}
	}
	if err != nil {
		testkit.Skip(t, fmt.Sprintf("no processor limit can be set here: %v", err))
	}
}
