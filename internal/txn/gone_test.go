package txn_test

import (
	"testing"

	"hotpatch/internal/txn"
)

// TestFunctionThatIsGoneIsWaitedFor: a thread is in a function that the fixed
// program has not, and none of those that change is on its stack. It would call new
// ones by the conventions of the old.
func TestFunctionThatIsGoneIsWaitedFor(t *testing.T) {
	base, fixed := compile(t, "gone", "-g")
	b := built(t, base, fixed)
	v := start(t, base)
	for range 2 {
		v.want("q", "hello 1")
		v.want("h", "held")
		busyWith(t, "serve", applying(v, b), txn.Options{})
		v.want("g", "hello")
		apply(t, v, b, txn.Applied)
		v.want("q", "hello 2")
		v.want("h", "held") // in the new code
		busyWith(t, "code of hotpatch", reverting(t, v, b), txn.Options{})
		v.want("g", "hello")
		revert(t, v, b, txn.Reverted)
	}
	v.running()
}

// TestHotpatchOfAFunctionThatIsGoneIsReplaced: an earlier hotpatch has changed what
// the later one has not any more, and nothing else. It must not stay in force: its
// code calls what the later one replaces.
func TestHotpatchOfAFunctionThatIsGoneIsReplaced(t *testing.T) {
	base, fixed := compile(t, "gone", "-g")
	one := named(t, built(t, base, compileAs(t, "gone", "gone.first", "-g", "-DFIXED=2")), "1.0+deb12u1")
	two := named(t, built(t, base, fixed), "1.0+deb12u2")
	v := start(t, base)
	for range 2 {
		apply(t, v, one, txn.Applied)
		v.want("q", "Hello 1")
		v.want("h", "held") // in the code of the earlier one
		busyWith(t, "code of hotpatch", applying(v, two), txn.Options{})
		v.want("g", "Hello")
		apply(t, v, two, txn.Applied)
		v.want("q", "hello 2")
		if ss, err := states(t, v); err != nil || len(ss) != 1 || ss[0].ID != id(t, two) {
			t.Fatalf("status %+v, %v", ss, err)
		}
		revert(t, v, two, txn.Reverted)
		v.want("q", "hello 1")
	}
	v.running()
}
