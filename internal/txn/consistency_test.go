package txn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// independent makes a victim's bundle of one function independent.
func independent(t testing.TB, b *patch.Bundle) *patch.Bundle {
	t.Helper()
	b.Manifest.Mode = patch.Independent
	return accepted(t, b)
}

func TestIndependentHotpatchLetsOldCodeFinish(t *testing.T) {
	base, fixed := compile(t, "finishes")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base)
	v.want("q", "2")
	v.want("h", "held")
	r := apply(t, v, b, txn.Applied)
	if !strings.Contains(r.Lingers, "fixed_function") || r.Attempts < 2 {
		t.Errorf("%+v does not say where the old code still runs, or did not wait for it first", r)
	}
	v.want("q", "1001") // new calls, while the old one waits
	ss, err := txn.Status(v.pid)
	if err != nil || len(ss) != 1 || ss[0].Mode != patch.Independent || ss[0].State != txn.InForce {
		t.Errorf("status %+v, %v", ss, err)
	}
	v.want("g", "43") // it ended in the old code, with all that it knew
	v.want("q", "1001")
	if r := apply(t, v, b, txn.Already); r.Lingers != "" {
		t.Errorf("%+v", r)
	}
	revert(t, v, b, txn.Reverted)
	if r := apply(t, v, b, txn.Applied); r.Lingers != "" {
		t.Errorf("%+v: nothing lingers", r)
	}
	v.running()
}

// TestIndependentHotpatchWaitsForAMomentFirst: a call that is over soon is no
// reason to let it finish in old code.
func TestIndependentHotpatchWaitsForAMomentFirst(t *testing.T) {
	base, fixed := compile(t, "finishes")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base)
	v.want("h", "held")
	let := make(chan string)
	go func() { time.Sleep(50 * time.Millisecond); let <- v.ask("g") }()
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 10 * time.Second})
	if got := <-let; r.Outcome != txn.Applied || r.Lingers != "" || got != "43" {
		t.Errorf("%+v, %s", r, got)
	}
	v.want("q", "1001")
}

// TestRevertOfAnIndependentHotpatchIsStrict: its code is used again by the next
// apply, so nobody may be left in it.
func TestRevertOfAnIndependentHotpatchIsStrict(t *testing.T) {
	base, fixed := compile(t, "finishes", "-g")
	b := independent(t, built(t, base, fixed))
	v := start(t, base)
	apply(t, v, b, txn.Applied)
	v.want("h", "held")
	busyWith(t, "code of hotpatch", reverting(t, v, b), txn.Options{})
	v.want("q", "1001")
	v.want("g", "1042")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2")
}

func TestConsistencyCanOnlyBeMadeStricter(t *testing.T) {
	base, fixed := compile(t, "finishes")
	v := start(t, base)
	v.want("h", "held")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	busyWith(t, "fixed_function", applying(v, b), txn.Options{Consistency: patch.Strict})
	b = byHand(t, base, fixed, "fixed_function")
	if r := txn.Apply(context.Background(), v.pid, b, txn.Options{Consistency: patch.Independent}); r.Outcome != txn.Denied || !strings.Contains(r.Reason, "not proved") {
		t.Errorf("strict, applied as independent: %+v", r)
	}
	v.want("q", "2")
	v.want("g", "43")
	v.running()
}

// TestNobodyIsBetweenTheBytesOfAnEntry: a thread inside the five bytes that the
// jump takes keeps even an independent hotpatch out.
func TestNobodyIsBetweenTheBytesOfAnEntry(t *testing.T) {
	base, fixed := compile(t, "spins_at_entry")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base)
	v.want("q", "1")
	v.want("h", "held") // in a loop within the first bytes
	busyWith(t, "the entry of fixed_function", applying(v, b), txn.Options{Wait: time.Second})
	v.want("q", "1")
	v.want("g", "gone")
	apply(t, v, b, txn.Applied)
	v.want("q", "1000")
	v.running()
}

// TestReplacingIsStrict: what the replaced hotpatch brought must not be waited
// for by any stack either.
func TestReplacingIsStrict(t *testing.T) {
	base, first := compile(t, "finishes", "-g")
	second := compileAs(t, "finishes", "finishes.second", "-g", "-DFIXED=2")
	one := independent(t, named(t, built(t, base, first), "1.0+deb12u1"))
	two := independent(t, named(t, built(t, base, second), "1.0+deb12u2"))
	v := start(t, base)
	apply(t, v, one, txn.Applied)
	v.want("h", "held")
	busyWith(t, "code of hotpatch", applying(v, two), txn.Options{})
	v.want("q", "1001")
	v.want("g", "1042")
	apply(t, v, two, txn.Applied)
	v.want("q", "2001")
	v.running()
}
