package txn_test

import (
	"context"
	"testing"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// TestWorkersOfTheKernelAreLeftAlone: what a stopped one does for the process ends
// with an error that programs never see otherwise.
func TestWorkersOfTheKernelAreLeftAlone(t *testing.T) {
	base, fixed := compile(t, "iouring", "-DWIDE")
	for _, how := range []txn.How{txn.Stopped, txn.Exchanged} {
		t.Run(string(how), func(t *testing.T) {
			b := byHand(t, base, fixed, "fixed_function")
			o := txn.Options{Wait: patience}
			if how == txn.Exchanged {
				b, o = independent(t, b), txn.Exchanging(o)
			}
			v := start(t, base)
			users := 0
			tids, err := proc.Threads(v.pid)
			if err != nil {
				t.Fatal(err)
			}
			for _, tid := range tids {
				if worker, err := txn.KernelWorker(v.pid, tid); err != nil {
					t.Fatal(err)
				} else if !worker {
					users++
				}
			}
			if users != 2 || len(tids) <= users {
				t.Fatalf("%d of %d threads are the program's", users, len(tids))
			}
			for range 5 {
				r := txn.Apply(context.Background(), v.pid, b, o)
				if r.Outcome != txn.Applied || r.How != how || r.Lingers != "" || how == txn.Stopped && r.Threads != users {
					t.Errorf("%+v", r)
				}
				v.want("q", "1001")
				revert(t, v, b, txn.Reverted)
				v.want("q", "2")
				v.want("p", "1") // others may have begun meanwhile, and end
			}
			v.want("c", "ended=0 last=0")
			v.running()
		})
	}
}

func TestWorkersOfTheKernelAreToldByItsVersion(t *testing.T) {
	for release, want := range map[string]uint64{
		"4.18.0-553.el8":  0, // 0x10 is PF_VCPU
		"5.10.0-28-amd64": 0,
		"5.15.0-generic":  0x10,
		"6.1.0-32-amd64":  0x10, // 0x4000 may still be PF_USED_ASYNC
		"6.4.0":           0x4010,
		"7.0.0":           0x4010,
		"unknown":         0,
	} {
		if got := txn.WorkerFlagsOf(release); got != want {
			t.Errorf("%s: %#x, not %#x", release, got, want)
		}
	}
}
