package build_test

import (
	"slices"
	"testing"

	"hotpatch/internal/build"
)

// A table whose first number is that of a letter looks like a string, which
// nobody walks; who does walk it must find its end where its start is.
func TestTableThatBeginsLikeAStringIsWalkedToItsEnd(t *testing.T) {
	for _, bare := range []bool{false, true} {
		base, fixed := compile(t, "literal.c", style{flags: []string{"-fno-toplevel-reorder", "-Og"}})
		scan := symbol(t, fixed, "scan")
		was := symbol(t, base, "limits")
		if next := symbol(t, base, "behind"); next.Value != was.Value+was.Size {
			t.Fatalf("the tables are at %#x and %#x", was.Value, next.Value)
		}
		if bare {
			base, fixed = strip(t, base), strip(t, fixed)
		}
		r, b := run(t, base, fixed, build.Options{})
		if b == nil {
			t.Fatalf("stripped %v: %s: %v", bare, r.Verdict, r.Reasons)
		}
		want := []place{{false, was.Value}, {false, was.Value + was.Size}}
		if got := taken(t, b.Objects[0], scan.Value, scan.Size); !slices.Equal(got, want) {
			t.Errorf("stripped %v: it goes over %v, want %v", bare, got, want)
		}
	}
}

// A table that the base program may have written to is not what the fixed one
// has as a constant, although both begin alike.
func TestConstantOfTheFixIsNotTheVariableThatItWas(t *testing.T) {
	base, fixed := compile(t, "constness.c", plain)
	scan, ops := symbol(t, fixed, "scan"), symbol(t, fixed, "ops")
	r, b := run(t, base, fixed, build.Options{})
	if b == nil || !slices.Contains(codes(r), "table-carried") {
		t.Fatalf("%s: %v", r.Verdict, r.Reasons)
	}
	if got, want := taken(t, b.Objects[0], scan.Value, scan.Size), []place{{true, ops.Value}}; !slices.Equal(got, want) {
		t.Errorf("it uses %v, want %v", got, want)
	}
}
