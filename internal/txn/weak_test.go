package txn_test

import (
	"fmt"
	"os"
	"testing"

	"hotpatch/internal/txn"
)

// TestWeakSymbolThatNothingDefinesIsZero: as for the dynamic linker, had the
// fixed library been there from the start.
func TestWeakSymbolThatNothingDefinesIsZero(t *testing.T) {
	lib, fixed := compile(t, "libweak", "-shared", "-fPIC", "-s")
	program, _ := compile(t, "recompiled", "-ldl")
	b := built(t, lib, fixed)
	v, like := start(t, program, lib), start(t, program, fixed)
	if got := v.ask("a3"); got != "a3" {
		t.Fatalf("before: %q", got)
	}
	apply(t, v, b, txn.Applied)
	want := fmt.Sprintf("a%d", 20+os.Getpagesize())
	if got, now := v.ask("a3"), like.ask("a3"); got != want || now != want {
		t.Errorf("%q, the fixed library %q, want %q", got, now, want)
	}
	revert(t, v, b, txn.Reverted)
	v.running()
}
