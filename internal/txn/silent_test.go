package txn_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"hotpatch/internal/txn"
)

// TestMemoryThatDoesNotComeStopsNobodyElse: a page may be of a file system whose daemon
// is silent, or whose server is down. Who reads it waits; others do not, least of all
// one that stands while the runtime wants to collect garbage.
func TestMemoryThatDoesNotComeStopsNobodyElse(t *testing.T) {
	base, fixed := compile(t, "silent")
	b := byHand(t, base, fixed, "fixed_function")
	silent := start(t, base, t.TempDir())
	done := make(chan txn.Result, 1)
	go func() { done <- txn.Apply(context.Background(), silent.pid, b, txn.Options{Wait: time.Second}) }()
	time.Sleep(200 * time.Millisecond)

	base, fixed = compile(t, "confined")
	other := start(t, base)
	var stood time.Duration
	o := txn.WithStep(txn.Options{}, func(point string) {
		if point == "stopped" {
			begin := time.Now()
			runtime.GC()
			stood += time.Since(begin)
		}
	})
	if r := txn.Apply(context.Background(), other.pid, byHand(t, base, fixed, "fixed_function"), o); r.Outcome != txn.Applied {
		t.Errorf("%+v", r)
	}
	if stood > 4*time.Second {
		t.Errorf("it stood for %v", stood)
	}
	select {
	case r := <-done:
		t.Errorf("the page came: %+v", r)
	default:
		silent.want("k", "ended")
		<-done
	}
	silent.want("q", "2")
	silent.running()
}
