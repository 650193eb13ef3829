package txn_test

import (
	"context"
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

// TestWeakSymbolThatAnotherLibraryMayDefineIsNotTakenForZero: whether that was opened for
// all to use, nobody can tell.
func TestWeakSymbolThatAnotherLibraryMayDefineIsNotTakenForZero(t *testing.T) {
	lib, fixed := compile(t, "libweak", "-shared", "-fPIC", "-s")
	other := compileAs(t, "libweak", "libother", "-shared", "-fPIC", "-DPROVIDES")
	program, _ := compile(t, "recompiled", "-ldl")
	b := built(t, lib, fixed)
	v, like := start(t, program, lib, other), start(t, program, fixed, other)
	want := fmt.Sprintf("a%d", 503+os.Getpagesize())
	if now := like.ask("a3"); now != want {
		t.Fatalf("the fixed library: %q, want %q", now, want)
	}
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience})
	if got := v.ask("a3"); r.Outcome != txn.Failed && r.Outcome != txn.Denied || got != "a3" {
		t.Errorf("%q, %+v", got, r)
	}
	v.running()
}
