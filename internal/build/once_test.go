package build_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// A fix that only a restart brings is told of.
func TestBuildTellsOfCodeThatRunsOnce(t *testing.T) {
	for name, s := range map[string]style{"debugged": debugged, "stripped": stripped} {
		base, fixed := compile(t, "once.c", s)
		if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Review || !slices.Contains(codes(r), "runs-once") {
			t.Errorf("%s: %s: %v", name, r.Verdict, r.Reasons)
		}
	}
}

// What the one function takes the other drops, and neither did before.
func TestBuildTellsOfPairsThatWentToOtherFunctions(t *testing.T) {
	for name, s := range map[string]style{"debugged": debugged, "stripped": stripped} {
		base, fixed := compile(t, "brackets.c", s)
		if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != patch.Review || !slices.Contains(codes(r), "pairing-moved") {
			t.Errorf("%s: %s: %v", name, r.Verdict, r.Reasons)
		}
	}
}

// What the loader and the kernel protect, they do from the start of a process on.
func TestBuildTellsOfProtectionThatOnlyAStartBrings(t *testing.T) {
	cc, dir := testkit.Tool(t, "gcc"), t.TempDir()
	link := func(out string, flags []string) string {
		path := filepath.Join(dir, out)
		args := append([]string{"-O2", "-g", "-Wl,--build-id=sha1", "-o", path}, flags...)
		if text, err := exec.Command(cc, append(args, filepath.Join("testdata", "guards.c"))...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
		return path
	}
	for _, c := range []struct {
		base, fixed string
		verdict     patch.Verdict
		codes       string
	}{
		{"-z execstack", "-z noexecstack", patch.Refused, "data-only start-only"},
		{"-Wl,-z,norelro", "-Wl,-z,relro", patch.Refused, "data-only start-only"},
		{"-Wl,-z,lazy", "-Wl,-z,now", patch.Refused, "data-only start-only"},
		{"-z execstack", "-z noexecstack -DCHANGED", patch.Review, "start-only"},
		{"-z noexecstack", "-z execstack -DCHANGED", patch.Clean, ""},
		{"-z noexecstack", "-z noexecstack", patch.Nothing, ""},
	} {
		r, _ := run(t, link("base", strings.Fields(c.base)), link("fixed", strings.Fields(c.fixed)), build.Options{})
		if r.Verdict != c.verdict || strings.Join(codes(r), " ") != c.codes {
			t.Errorf("%s, then %s: %s: %v, want %s (%s)", c.base, c.fixed, r.Verdict, r.Reasons, c.verdict, c.codes)
		}
	}
}
