package txn_test

import (
	"strconv"
	"testing"
	"time"

	"hotpatch/internal/txn"
)

// What a thread has in its registers and around its stack pointer.

// transitions applies and reverts as fast as it goes, at least n times each.
func transitions(t *testing.T, v *victim, base, fixed string, n int) {
	t.Helper()
	b := byHand(t, base, fixed, "fixed_function")
	for range n {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
}

// busyEnough waits until the victim has done enough for its counts to mean
// something.
func busyEnough(t *testing.T, v *victim) {
	t.Helper()
	for range 500 {
		if v.ask("a") == "1" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the victim does nothing")
}

func TestRedZoneIsLeftAlone(t *testing.T) {
	base, fixed := compile(t, "red_zone")
	v := start(t, base)
	transitions(t, v, base, fixed, 40)
	busyEnough(t, v)
	v.want("c", "corrupt=0")
	v.running()
}

func TestVectorRegistersAreLeftAlone(t *testing.T) {
	base, fixed := compile(t, "vectors")
	v := start(t, base)
	mask, err := strconv.ParseUint(v.ask("m"), 16, 64)
	if err != nil || mask&3 != 3 {
		t.Fatalf("components %#x, %v", mask, err)
	}
	t.Logf("XSAVE components %#x", mask)
	transitions(t, v, base, fixed, 40)
	busyEnough(t, v)
	v.want("c", "corrupt=0")
	v.running()
}

func TestLocksOfTheProgramMayBeHeld(t *testing.T) {
	base, fixed := compile(t, "locks_held")
	v := start(t, base)
	v.want("h", "held=3")
	transitions(t, v, base, fixed, 5)
	v.want("h", "held=3")
	v.want("g", "gone") // they go on where they were
	v.running()
}
