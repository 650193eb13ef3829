package build_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// Of getters and setters with the same code one pair went and another came:
// paired by their order alone some are shifted, and what they say of their
// variables is out of order. Carried code must not call them.
func TestBuildDoesNotBelieveShiftedTwins(t *testing.T) {
	base, fixed := compile(t, "twins-shifted.c", style{flags: []string{"-O2", "-fno-toplevel-reorder"}, strip: true})
	r, b := run(t, base, fixed, build.Options{})
	if b != nil || r.Verdict != patch.Refused || !slices.Contains(codes(r), "data-unmapped") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}

// Of functions with the same code and nothing that they refer to it does not matter
// which are which, however many they are.
func TestBuildPairsAnyNumberOfTwins(t *testing.T) {
	r, _ := run(t, twins(t, "n * 3 + 1", false), twins(t, "n * 3 + 1", true), build.Options{})
	if r.Verdict != patch.Review || r.Images[0].Counts.Gone != 0 || r.Images[0].Counts.Changed != 1 {
		t.Errorf("%s: %v, %+v", r.Verdict, r.Reasons, r.Images[0].Counts)
	}
}

// However many functions have no counterpart: the hotpatch lists them all, and a process
// waits until it is in none of them.
func TestBuildListsAllFunctionsThatAreGone(t *testing.T) {
	r, b := run(t, twins(t, "n * 3 + 1", false), twins(t, "n ^ n >> 3 ^ 5", true), build.Options{})
	if b == nil || r.Images[0].Counts.Gone < 1000 {
		t.Fatalf("%s: %v, %+v", r.Verdict, r.Reasons, r.Images[0].Counts)
	}
	gone := 0
	for i := range b.Manifest.Images[0].Functions {
		if b.Manifest.Images[0].Functions[i].Gone() {
			gone++
		}
	}
	if gone != r.Images[0].Counts.Gone || b.Manifest.Mode != patch.Strict {
		t.Errorf("%d of %d functions that are gone are listed; %s", gone, r.Images[0].Counts.Gone, b.Manifest.Mode)
	}
}

// twins is a stripped program with many functions that return the same, and one more
// that changes.
func twins(t *testing.T, what string, fixed bool) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("#include <stdio.h>\n#define KEEP __attribute__((noinline, noclone, used))\n")
	const many = 1500
	for i := range many {
		fmt.Fprintf(&b, "KEEP int twin%d(int n) { return %s; }\n", i, what)
	}
	check := ""
	if fixed {
		fmt.Fprintf(&b, "KEEP int more(int n) { return %s; }\n", what)
		check = "\tif (n < 0)\n\t\treturn 0;\n"
	}
	b.WriteString("KEEP int get(int n) {\n" + check + "\treturn twin1(n) + twin2(n);\n}\n")
	b.WriteString("int main(void) {\n\tint n;\n\twhile (scanf(\"%d\", &n) == 1)\n\t\tprintf(\"%d\\n\", get(n));\n}\n")
	return strip(t, testkit.Program(t, b.String(), "-O1"))
}
