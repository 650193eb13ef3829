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

// bothWays runs a test with a victim whose page of code can be exchanged, and
// with one that has to be stopped, since something else has changed that page.
func bothWays(t *testing.T, test func(t *testing.T, v *victim, b *patch.Bundle, how txn.How)) {
	base, fixed := compile(t, "finishes")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	for _, how := range []txn.How{txn.Exchanged, txn.Stopped} {
		t.Run(string(how), func(t *testing.T) {
			v := start(t, base)
			if how == txn.Stopped {
				flip(t, v, base, "_start", 1) // it will not run again
			}
			test(t, v, b, how)
			v.running()
		})
	}
}

func TestIndependentHotpatchLetsOldCodeFinish(t *testing.T) {
	bothWays(t, func(t *testing.T, v *victim, b *patch.Bundle, way txn.How) {
		v.want("q", "2")
		v.want("h", "held")
		r := how(t, v, b, way)
		if !strings.Contains(r.Lingers, "fixed_function") {
			t.Errorf("%+v does not say where the old code still runs", r)
		}
		v.want("q", "1001") // new calls, while the old one waits
		ss, err := states(t, v)
		if err != nil || len(ss) != 1 || ss[0].Mode != patch.Independent || ss[0].State != txn.InForce {
			t.Errorf("status %+v, %v", ss, err)
		}
		v.want("g", "43") // it ended in the old code, with all that it knew
		v.want("q", "1001")
		if r := apply(t, v, b, txn.Already); r.Lingers != "" {
			t.Errorf("%+v", r)
		}
		revert(t, v, b, txn.Reverted)
		if r := how(t, v, b, way); r.Lingers != "" {
			t.Errorf("%+v: nothing lingers", r)
		}
	})
}

// TestOldCodeOfARelativeLingers: a child that shares the memory is no thread of
// the process, and in the old code all the same.
func TestOldCodeOfARelativeLingers(t *testing.T) {
	base, fixed := compile(t, "finishes")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base)
	v.want("c", "held")
	if r := how(t, v, b, txn.Exchanged); !strings.Contains(r.Lingers, "which shares its memory") {
		t.Errorf("%+v does not say where the old code still runs", r)
	}
	v.want("q", "1001")
	v.want("r", "43")
	revert(t, v, b, txn.Reverted)
	v.want("c", "held")
	let := make(chan string)
	go func() { time.Sleep(50 * time.Millisecond); let <- v.ask("r") }()
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 10 * time.Second})
	if got := <-let; r.Outcome != txn.Applied || r.Lingers != "" || got != "43" {
		t.Errorf("%+v, %s", r, got)
	}
}

// TestCallThatIsOverSoonDoesNotLinger: it is waited for, before the process is
// changed or after.
func TestCallThatIsOverSoonDoesNotLinger(t *testing.T) {
	bothWays(t, func(t *testing.T, v *victim, b *patch.Bundle, way txn.How) {
		for range 10 {
			v.want("h", "held")
			let := make(chan string)
			go func() { time.Sleep(50 * time.Millisecond); let <- v.ask("g") }()
			r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 10 * time.Second})
			if got := <-let; r.Outcome != txn.Applied || got != "43" {
				t.Errorf("%+v, %s", r, got)
			}
			v.want("q", "1001")
			if r.Lingers == "" && r.How == way {
				return
			}
			// A thread that waits for a processor may be anywhere, and none may be
			// free to be borrowed for an exchange.
			t.Logf("the host is busy: %s, %q", r.How, r.Lingers)
			revert(t, v, b, txn.Reverted)
		}
		t.Errorf("it lingers, or is not %s, every time", way)
	})
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
	flip(t, v, base, "_start", 1) // so that the page is not exchanged
	v.want("q", "1")
	v.want("h", "held") // in a loop within the first bytes
	busyWith(t, "the entry of fixed_function", applying(v, b), txn.Options{Wait: time.Second})
	v.want("q", "1")
	v.want("g", "gone")
	apply(t, v, b, txn.Applied)
	v.want("q", "1000")
	v.running()
}

// TestFunctionThatBranchesToItsOwnEntryWaits: what is built for it is strict,
// and its jump is there only while nobody is in it.
func TestFunctionThatBranchesToItsOwnEntryWaits(t *testing.T) {
	base, fixed := compile(t, "loops_into_entry")
	b := built(t, base, fixed)
	if b.Manifest.Mode != patch.Strict {
		t.Fatalf("mode %s", b.Manifest.Mode)
	}
	v := start(t, base)
	for range 2 {
		v.want("q", "1")
		v.want("h", "held")
		busyWith(t, "fixed_function", applying(v, b), txn.Options{})
		v.want("q", "1")
		v.want("g", "gone")
		apply(t, v, b, txn.Applied)
		v.want("q", "1000")
		v.want("h", "held") // in new code, whose own loop is elsewhere
		busyWith(t, "code of hotpatch", reverting(t, v, b), txn.Options{})
		v.want("g", "gone")
		revert(t, v, b, txn.Reverted)
	}
	v.want("q", "1")
	v.running()
}

// TestThreadThatLoopsAtTheEntryGoesOnInNewCode: where one instruction alone
// changes, nobody can be within it.
func TestThreadThatLoopsAtTheEntryGoesOnInNewCode(t *testing.T) {
	base, fixed := compile(t, "spins_at_entry")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base)
	v.want("h", "held")
	how(t, v, b, txn.Exchanged)
	v.want("q", "1000")
	v.want("g", "gone")
	revert(t, v, b, txn.Reverted)
	v.want("q", "1")
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
