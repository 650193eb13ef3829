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

// Of so many functions with the same code nobody can tell which are which. A site has
// room for some of those that have no counterpart, and what has no room is refused.
func TestBuildRefusesWhatASiteHasNoRoomFor(t *testing.T) {
	const many = 1500
	var common strings.Builder
	common.WriteString("#include <stdio.h>\n#define KEEP __attribute__((noinline, noclone, used))\n")
	for i := range many {
		fmt.Fprintf(&common, "KEEP int twin%d(int n) { return n * 3 + 1; }\n", i)
	}
	const rest = "\treturn twin1(n) + twin2(n);\n}\nint main(void) {\n\tint n;\n\twhile (scanf(\"%d\", &n) == 1)\n\t\tprintf(\"%d\\n\", get(n));\n}\n"
	base := testkit.Program(t, common.String()+"KEEP int get(int n) {\n"+rest, "-O1")
	fixed := testkit.Program(t, common.String()+"KEEP int more(int n) { return n * 3 + 1; }\nKEEP int get(int n) {\n\tif (n < 0)\n\t\treturn 0;\n"+rest, "-O1")
	r, _ := run(t, strip(t, base), strip(t, fixed), build.Options{})
	if r.Verdict != patch.Refused || !slices.Contains(codes(r), "rebuilt-compiler") {
		t.Errorf("%s: %v", r.Verdict, r.Reasons)
	}
}
