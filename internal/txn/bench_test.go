package txn_test

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"hotpatch/internal/txn"
)

// BenchmarkApplyAndRevert is one transition there and one back in a process
// with two threads, everything from looking at the process to verifying it.
func BenchmarkApplyAndRevert(b *testing.B) {
	base, fixed := compile(b, "onstack", "-g")
	bundle := built(b, base, fixed)
	id, err := bundle.ID()
	if err != nil {
		b.Fatal(err)
	}
	v := start(b, base)
	o := txn.Options{Tables: &txn.Tables{}}
	for b.Loop() {
		if r := txn.Apply(context.Background(), v.pid, bundle, o); r.Outcome != txn.Applied {
			b.Fatalf("%+v", r)
		}
		if r := txn.Revert(context.Background(), v.pid, id, o); r.Outcome != txn.Reverted {
			b.Fatalf("%+v", r)
		}
	}
}

// BenchmarkPatched looks for what carries a hotpatch among a hundred processes
// that do, or did, beside all others of the host.
func BenchmarkPatched(b *testing.B) {
	base, fixed := compile(b, "onstack", "-g")
	bundle := built(b, base, fixed)
	id, err := bundle.ID()
	if err != nil {
		b.Fatal(err)
	}
	const processes = 100
	var all []*victim
	o := txn.Options{Tables: &txn.Tables{}}
	for range processes {
		v := start(b, base)
		if r := txn.Apply(context.Background(), v.pid, bundle, o); r.Outcome != txn.Applied {
			b.Fatalf("%+v", r)
		}
		all = append(all, v)
	}
	for _, c := range []struct {
		name string
		want int
	}{{"applied", processes}, {"reverted", 0}} {
		b.Run(c.name, func(b *testing.B) {
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
			for b.Loop() {
				cs, _, err := txn.Patched(id)
				if err != nil || len(cs) != c.want {
					b.Fatalf("%d of %d: %v", len(cs), c.want, err)
				}
			}
			_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
			spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(spent)/1e3/processes/float64(b.N), "cpu-µs/process")
		})
		for _, v := range all {
			if r := txn.Revert(context.Background(), v.pid, id, o); c.want > 0 && r.Outcome != txn.Reverted {
				b.Fatalf("%+v", r)
			}
		}
	}
}
