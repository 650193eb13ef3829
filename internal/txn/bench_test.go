package txn_test

import (
	"context"
	"testing"

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
