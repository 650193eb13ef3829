package txn_test

import (
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// together makes one bundle of several.
func together(bs ...*patch.Bundle) *patch.Bundle {
	all := bs[0]
	for _, b := range bs[1:] {
		all.Manifest.Images = append(all.Manifest.Images, b.Manifest.Images...)
		all.Objects = append(all.Objects, b.Objects...)
	}
	return all
}

// program is a victim with a library, and one bundle for both.
func program(t *testing.T) (*victim, *patch.Bundle) {
	t.Helper()
	lib, libFixed := compile(t, "libanswer", "-shared", "-fPIC")
	base, fixed := compile(t, "uselib")
	b := together(byHand(t, base, fixed, "fixed_function"), byHand(t, lib, libFixed, "answer_of"))
	return start(t, base, lib), b
}

func TestAllImagesOfABundleChangeTogether(t *testing.T) {
	v, b := program(t)
	v.want("l", "loaded")
	v.want("b", "blocked") // inside the library, but not in what is replaced
	v.want("q", "2 2")
	for range 2 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001 1001")
		ss, err := states(t, v)
		if err != nil || len(ss) != 1 || len(ss[0].Images) != 2 || ss[0].Images[0].Functions != 1 || ss[0].Images[1].Functions != 1 {
			t.Fatalf("status %+v, %v", ss, err)
		}
		revert(t, v, b, txn.Reverted)
		v.want("q", "2 2")
	}
}

func TestLibraryLoadedLaterIsPatchedByTheNextApply(t *testing.T) {
	v, b := program(t)
	apply(t, v, b, txn.Applied)
	v.want("l", "loaded")
	v.want("q", "1001 2")
	apply(t, v, b, txn.Applied)
	v.want("q", "1001 1001")
	apply(t, v, b, txn.Already)
	revert(t, v, b, txn.Reverted)
	v.want("q", "2 2")
}

func TestLibraryUnloadedAndLoadedAgain(t *testing.T) {
	v, b := program(t)
	v.want("l", "loaded")
	apply(t, v, b, txn.Applied)
	v.want("q", "1001 1001")
	v.want("u", "unloaded")
	ss, err := states(t, v)
	if err != nil || len(ss) != 1 || ss[0].State != txn.InForce || len(ss[0].Images) != 1 {
		t.Errorf("status after unloading: %+v, %v", ss, err)
	}
	apply(t, v, b, txn.Already)
	v.want("l", "loaded") // most likely where it was before
	v.want("q", "1001 2")
	apply(t, v, b, txn.Applied)
	v.want("q", "1001 1001")
	revert(t, v, b, txn.Reverted)
	v.want("q", "2 2")
	v.want("u", "unloaded")
	revert(t, v, b, txn.Already)
	v.running()
}

func TestAnotherHotpatchOfTheSameFunctionIsRefused(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	other := byHand(t, base, fixed, "fixed_function")
	other.Manifest.Package = "other"
	v := start(t, base)
	apply(t, v, b, txn.Applied)
	apply(t, v, other, txn.Denied)
	v.want("q", "1001")
	revert(t, v, b, txn.Reverted)
	apply(t, v, other, txn.Applied)
	v.want("q", "1001")
}
