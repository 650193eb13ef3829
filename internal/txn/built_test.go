package txn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// built makes a bundle from two compiled victims, accepted if need be.
func built(t testing.TB, base, fixed string) *patch.Bundle {
	t.Helper()
	rep, b, err := build.Build(context.Background(), base, fixed, build.Options{Accept: "a test", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		t.Fatalf("%s: %+v", rep.Verdict, rep.Reasons)
	}
	return b
}

func TestFixesOfEveryKindOfReference(t *testing.T) {
	base, fixed := compile(t, "kinds", "-g")
	b := built(t, base, fixed)
	type answers map[string]string
	was := answers{
		"i10": "7", "f10": "40.00", "s8": "-1", "t": "the old text", "a1": "one",
		"c1": "11", "c4": "44", "c6": "73", "m": "4", "r5": "6", "p10": "7 1",
	}
	is := answers{
		"i10": "13", "f10": "3.00", "s8": "36", "t": "the new text", "a1": "two",
		"c1": "111", "c4": "444", "c6": "73", "m": "72", "r5": "7", "p10": "13 101",
	}
	all := func(v *victim, want answers) {
		t.Helper()
		for q, a := range want {
			v.want(q, a)
		}
	}
	v := start(t, base)
	all(v, was)
	v.want("v3", "3")
	for range 2 {
		counted := v.ask("n")
		apply(t, v, b, txn.Applied)
		v.want("n", counted) // old and new code count in one variable
		all(v, is)
		v.want("v3", "4301")
		v.want("v3", "4602")
		revert(t, v, b, txn.Reverted)
		all(v, was)
		v.want("v3", "3")
	}
	v.running()
}

func TestFunctionOnAStackIsNamed(t *testing.T) {
	base, fixed := compile(t, "onstack", "-g")
	b := built(t, base, fixed)
	v := start(t, base)
	v.want("q", "2 2")
	for hold, name := range map[string]string{"h": "fixed_function", "s": "raises"} {
		v.want(hold, "held")
		r := busyWith(t, name, applying(v, b), txn.Options{})
		if stack := strings.Join(r.Stack, " "); !strings.Contains(stack, "onstack+0x") || !strings.Contains(stack, "libc.so.6+0x") {
			t.Errorf("stack %q", stack)
		}
		v.running()
		v.want("q", "2 2")
		if n := executableAnonymous(t, v.pid); n != 0 {
			t.Errorf("%d mappings left behind", n)
		}
		v.want("g", "gone")
	}
	v.want("d", "1")
	apply(t, v, b, txn.Applied)
	v.want("q", "1001 1001")
}

func TestCodeOnAStackKeepsItsHotpatch(t *testing.T) {
	base, fixed := compile(t, "onstack", "-g")
	b := built(t, base, fixed)
	v := start(t, base)
	apply(t, v, b, txn.Applied)
	for _, hold := range []string{"h", "s"} {
		v.want(hold, "held")
		busyWith(t, "code of hotpatch", reverting(t, v, b), txn.Options{})
		v.want("q", "1001 1001")
		v.want("g", "gone")
	}
	revert(t, v, b, txn.Reverted)
	v.want("q", "2 2")
}

func TestBusyProcessDoesNotHoldUpOthers(t *testing.T) {
	base, fixed := compile(t, "onstack", "-g")
	b := built(t, base, fixed)
	held, free := start(t, base), start(t, base)
	held.want("h", "held")
	o := txn.Options{Wait: 20 * time.Second, Turns: make(txn.Turns, 1)}
	o.Turns.Take()
	got := make(chan txn.Result)
	go func() {
		r := txn.Apply(context.Background(), held.pid, b, o)
		o.Turns.Give()
		got <- r
	}()
	o.Turns.Take() // given away while the first only waits
	r := txn.Apply(context.Background(), free.pid, b, o)
	o.Turns.Give()
	if r.Outcome != txn.Applied {
		t.Fatalf("the one that is free: %+v", r)
	}
	select {
	case r := <-got:
		t.Fatalf("the busy one did not wait: %+v", r)
	default:
	}
	held.want("g", "gone")
	if r := <-got; r.Outcome != txn.Applied || r.TookUS < r.PausedUS {
		t.Fatalf("%+v", r)
	}
	held.want("q", "1001 1001")
	free.want("q", "1001 1001")
}

func TestBusyProcessIsPatchedAsSoonAsItIsFree(t *testing.T) {
	base, fixed := compile(t, "onstack", "-g")
	b := built(t, base, fixed)
	v := start(t, base)
	v.want("h", "held")
	got := make(chan txn.Result)
	go func() {
		got <- txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 20 * time.Second})
	}()
	time.Sleep(100 * time.Millisecond)
	v.want("g", "gone")
	if r := <-got; r.Outcome != txn.Applied {
		t.Fatalf("%+v", r)
	}
	v.want("q", "1001 1001")
}
