package build_test

import (
	"context"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// TestBuildOfEveryWayOfLinking: imports through the PLT, through the GOT alone
// and not at all; relocations as a table and packed; branch tracking.
func TestBuildOfEveryWayOfLinking(t *testing.T) {
	for _, flags := range []string{
		"-pie", "-fno-plt", "-fno-plt -fcf-protection=full", "-fcf-protection=full -Wl,-z,ibtplt", "-static-pie",
		"-Wl,-z,pack-relative-relocs", "-Wl,-z,lazy", "-Wl,-z,separate-code -ffunction-sections -fdata-sections -Wl,--gc-sections",
	} {
		for _, strip := range []bool{false, true} {
			t.Run(flags, func(t *testing.T) {
				t.Parallel()
				base, fixed := compile(t, "linkages.c", style{flags: append([]string{"-g"}, strings.Fields(flags)...), strip: strip})
				rep, b, err := build.Build(context.Background(), base, fixed, build.Options{})
				if err != nil {
					t.Fatal(err)
				}
				want := patch.Clean
				if strip {
					want = patch.Review // nobody has compared the types
				}
				if rep.Verdict != want {
					t.Fatalf("%s: %v", rep.Verdict, rep.Reasons)
				}
				if s := b.Manifest.Images[0].Sites; len(s) != 1 || rep.Images[0].Counts.Changed != 1 {
					t.Errorf("sites %v, counts %+v", s, rep.Images[0].Counts)
				}
			})
		}
	}
}
