package txn_test

import (
	"context"
	"strings"
	"testing"

	"hotpatch/internal/txn"
)

func TestImportInAnotherVersionIsThatVersion(t *testing.T) {
	lib, fixed := compile(t, "libversioned", "-shared", "-fPIC", "-s")
	program, _ := compile(t, "recompiled", "-ldl")
	b := built(t, lib, fixed)
	v := start(t, program, lib)
	if got := v.ask("a3"); got != "a3" {
		t.Fatalf("before: %q", got)
	}
	apply(t, v, b, txn.Applied)
	if got := v.ask("a3"); got != "a13" {
		t.Errorf("%q: it is still the old version", got)
	}
	revert(t, v, b, txn.Reverted)
	if got := v.ask("a3"); got != "a3" {
		t.Errorf("afterwards: %q", got)
	}
	v.running()
}

// The loader would give the oldest version, dlsym gives the newest.
func TestImportInNoVersionOfSeveralIsRefused(t *testing.T) {
	lib, fixed := compile(t, "libversioned", "-shared", "-fPIC", "-s", "-DBARE", "-nolibc")
	program, _ := compile(t, "recompiled", "-ldl")
	b := built(t, lib, fixed)
	v := start(t, program, lib)
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience})
	if got := v.ask("a3"); r.Outcome != txn.Failed && r.Outcome != txn.Denied || got != "a3" {
		t.Errorf("%q, %+v", got, r)
	}
	v.running()
}

// TestImportOfALibraryInAnotherNamespaceIsRefused: memory of the program's libc is
// none that the libc of the namespace could take back.
func TestImportOfALibraryInAnotherNamespaceIsRefused(t *testing.T) {
	lib, fixed := compile(t, "libnamespaced", "-shared", "-fPIC", "-s")
	program := compileAs(t, "namespaced", "namespaced", "-ldl")
	b := built(t, lib, fixed)
	v := start(t, program, lib)
	v.want("abcdef", "abc")
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: patience})
	if r.Outcome != txn.Denied || !strings.Contains(r.Reason, "namespace") {
		t.Errorf("%+v", r)
	}
	v.want("abcdef", "abc")
	v.running()
}
