package txn_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// TestMemoryThatDoesNotComeStopsNobodyElse: a page may be of a file system whose daemon
// is silent, or whose server is down. Who reads it waits; others do not, least of all
// one that stands while the runtime wants to collect garbage.
func TestMemoryThatDoesNotComeStopsNobodyElse(t *testing.T) {
	base, fixed := compile(t, "silent")
	b := byHand(t, base, fixed, "fixed_function")
	silent := start(t, base, t.TempDir(), "120")
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
	wantRefused(t, <-done)
	silent.want("k", "ended")
	silent.want("q", "2")
	silent.running()
}

func wantRefused(t *testing.T, r txn.Result) {
	t.Helper()
	if r.Outcome != txn.Denied || !strings.Contains(r.Reason, "does not answer") {
		t.Errorf("%+v", r)
	}
}

// TestProcessWhoseMemoryDoesNotComeIsRefused: it keeps neither its turn nor who works
// on one process after the other, and however often it is tried, one read waits.
func TestProcessWhoseMemoryDoesNotComeIsRefused(t *testing.T) {
	base, fixed := compile(t, "silent")
	b := byHand(t, base, fixed, "fixed_function")
	silent := start(t, base, t.TempDir(), "120")
	otherBase, otherFixed := compile(t, "confined")
	other := start(t, otherBase)
	turns := make(txn.Turns, 1)
	turns.Take()
	for range 20 {
		wantRefused(t, txn.Apply(context.Background(), silent.pid, b, txn.Options{Turns: turns}))
		if _, err := txn.Status(silent.pid); !errors.Is(err, proc.ErrStuck) {
			t.Errorf("status: %v", err)
		}
	}
	look, err := txn.Examine(silent.pid, nil)
	if err != nil || len(look.Objections) != 1 || look.Objections[0].About != txn.OfLoaded {
		t.Errorf("%+v, %v", look, err)
	}
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if n := strings.Count(string(stacks), "hotpatch/internal/proc.ModulesIn("); n > 10 {
		t.Errorf("%d are reading", n)
	}
	r := txn.Apply(context.Background(), other.pid, byHand(t, otherBase, otherFixed, "fixed_function"), txn.Options{Wait: patience, Turns: turns})
	if r.Outcome != txn.Applied {
		t.Errorf("%+v", r)
	}
	turns.Give()
	silent.want("k", "ended")
	silent.want("q", "2")
	silent.running()
	// The page does not come, but the answer does: it is looked at again.
	for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := txn.Status(silent.pid); !errors.Is(err, proc.ErrStuck) {
			break
		}
		if time.Now().After(until) {
			t.Fatal("it is not looked at again")
		}
	}
}
