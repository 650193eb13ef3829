package txn_test

import (
	"fmt"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// three hotpatches of three packages for one program.
func three(t *testing.T) (path string, bs [3]*patch.Bundle) {
	t.Helper()
	path = compileAs(t, "three", "three")
	for i, name := range []string{"first", "second", "third"} {
		fixed := compileAs(t, "three", fmt.Sprintf("three.%d", i+1), fmt.Sprintf("-DFIXED=%d", i+1))
		bs[i] = named(t, byHand(t, path, fixed, name), "1.1")
		bs[i].Manifest.Package = name
	}
	return path, bs
}

func TestThreeHotpatchesAreRevertedInAnyOrder(t *testing.T) {
	path, bs := three(t)
	v := start(t, path)
	answer := func(on [3]bool) string {
		n := [3]int{1, 2, 3}
		for i := range n {
			if on[i] {
				n[i] *= 100
			}
		}
		return fmt.Sprintf("%d %d %d", n[0], n[1], n[2])
	}
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var on [3]bool
		for i := range bs {
			apply(t, v, bs[i], txn.Applied)
			on[i] = true
			v.want("q", answer(on))
		}
		for k, i := range order {
			revert(t, v, bs[i], txn.Reverted)
			on[i] = false
			v.want("q", answer(on))
			ss, err := states(t, v)
			if err != nil || len(ss) != 2-k {
				t.Fatalf("order %v, %d reverted: %d hotpatches, %v", order, k+1, len(ss), err)
			}
		}
	}
	if n := executableAnonymous(t, v.pid); n != 3 {
		t.Errorf("%d tagged mappings after six rounds, not three", n)
	}
	v.running()
}

// TestNextProgramOfAProcessStartsAfresh: exec takes the hotpatch away with all
// else, and nothing of it is believed to be there.
func TestNextProgramOfAProcessStartsAfresh(t *testing.T) {
	path, bs := three(t)
	v := start(t, path)
	apply(t, v, bs[0], txn.Applied)
	v.want("q", "100 2 3")
	if l := v.ask("x"); l != fmt.Sprintf("ready %d", v.pid) {
		t.Fatalf("victim says %q", l)
	}
	v.want("q", "1 2 3")
	if s := state(t, v); s != "" {
		t.Errorf("status %q", s)
	}
	if r := revert(t, v, bs[0], txn.Skipped); r.Reason == "" {
		t.Errorf("%+v", r)
	}
	apply(t, v, bs[0], txn.Applied)
	v.want("q", "100 2 3")
	v.running()
}

// TestForkedChildAndParentGoTheirOwnWays: what one carries after the fork is its own.
func TestForkedChildAndParentGoTheirOwnWays(t *testing.T) {
	base, fixed := compile(t, "family")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	child := &victim{t: t, pid: number(t, v.ask("p"))}
	apply(t, child, b, txn.Applied)
	v.want("c", "1001")
	v.want("q", "2")
	apply(t, v, b, txn.Applied)
	revert(t, child, b, txn.Reverted)
	v.want("c", "2")
	v.want("q", "1001")
	child.running()
	v.running()
	v.want("k", "killed")
}
