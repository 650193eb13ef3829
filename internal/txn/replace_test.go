package txn_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

const base0, fixed1, fixed2 = "10 20 30 40", "11 21 30 41", "12 20 31 42"

// versions are a victim and the hotpatches to its first and second fix, as of
// a package.
func versions(t *testing.T) (path string, one, two *patch.Bundle) {
	t.Helper()
	base, first := compile(t, "versions", "-g")
	second := compileAs(t, "versions", "versions.second", "-g", "-DFIXED=2")
	return base, named(t, built(t, base, first), "1.0+deb12u1"), named(t, built(t, base, second), "1.0+deb12u2")
}

// named makes a bundle one to a version of a package.
func named(t testing.TB, b *patch.Bundle, version string) *patch.Bundle {
	t.Helper()
	b.Manifest.Package, b.Manifest.BaseVersion, b.Manifest.FixedVersion = "victim", "1.0", version
	return accepted(t, b)
}

func TestLaterHotpatchTakesThePlaceOfAnEarlierOne(t *testing.T) {
	path, one, two := versions(t)
	v := start(t, path)
	v.want("q", base0)
	for range 2 {
		apply(t, v, one, txn.Applied)
		v.want("q", fixed1)
		apply(t, v, two, txn.Applied)
		v.want("q", fixed2)
		ss, err := states(t, v)
		if err != nil || len(ss) != 1 || ss[0].ID != id(t, two) || ss[0].State != txn.InForce || len(ss[0].Names) != 3 {
			t.Fatalf("status %+v, %v", ss, err)
		}
		revert(t, v, one, txn.Already)
		v.want("q", fixed2)
		r := apply(t, v, one, txn.Denied) // not back to the earlier one by mistake
		if !strings.Contains(r.Reason, "not of an earlier version") {
			t.Errorf("reason %q", r.Reason)
		}
		apply(t, v, two, txn.Already)
		revert(t, v, two, txn.Reverted)
		v.want("q", base0)
	}
	v.running()
}

func TestReplacementThatFailsLeavesTheEarlierOneInForce(t *testing.T) {
	path, one, two := versions(t)
	v := start(t, path)
	apply(t, v, one, txn.Applied)
	v.want("h", "held") // code of the first fix is on a stack
	busyWith(t, "code of hotpatch", applying(v, two), txn.Options{})
	v.want("q", fixed1)
	v.want("g", "gone")
	n := 0
	r := txn.Apply(context.Background(), v.pid, two, txn.WithFail(txn.Options{}, func(p string) error {
		if p == "entry-written" {
			if n++; n == 2 {
				return fmt.Errorf("injected")
			}
		}
		return nil
	}))
	if r.Outcome != txn.Failed {
		t.Fatalf("%+v", r)
	}
	v.want("q", fixed1)
	apply(t, v, two, txn.Applied)
	v.want("q", fixed2)
	v.running()
}

func TestKilledReplacementIsWhollyOneOrTheOther(t *testing.T) {
	path, one, two := versions(t)
	file := writeBundle(t, two)
	v := start(t, path)
	apply(t, v, one, txn.Applied)
	passed := points(t, "apply", v, file)
	revert(t, v, two, txn.Reverted)
	for i := range passed {
		v := start(t, path)
		apply(t, v, one, txn.Applied)
		p, _ := killedWhere(t, toolCmd(t, "apply", v, file, i))
		if p == "entry-written" {
			if s := state(t, v); !strings.Contains(s, txn.Interrupted) && !strings.Contains(s, txn.InForce) {
				t.Errorf("killed at %d (%s): status %q", i, p, s)
			}
		} else if got := v.ask("q"); got != fixed1 && got != fixed2 {
			t.Fatalf("killed at %d (%s): %q", i, p, got)
		}
		r := txn.Apply(context.Background(), v.pid, two, txn.Options{Wait: patience})
		if r.Outcome != txn.Applied && r.Outcome != txn.Already {
			t.Fatalf("killed at %d (%s): apply afterwards: %+v", i, p, r)
		}
		v.want("q", fixed2)
		revert(t, v, two, txn.Reverted)
		v.want("q", base0)
		v.running()
		v.kill()
	}
}

func TestHotpatchWithVariablesIsNotReplaced(t *testing.T) {
	base, fixed := compile(t, "kinds", "-g")
	v := start(t, base)
	apply(t, v, named(t, built(t, base, fixed), "1.1"), txn.Applied)
	v.want("v3", "4301")
	r := apply(t, v, named(t, built(t, base, fixed), "1.2"), txn.Denied)
	if !strings.Contains(r.Reason, "variables of its own") {
		t.Errorf("reason %q", r.Reason)
	}
	v.want("v3", "4602")
}
