package build_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
)

// Their collectors would not find their way through carried code.
func TestBuildRefusesRuntimesThatKnowTheirCodeByTables(t *testing.T) {
	for _, c := range []struct {
		name  string
		style style
		says  string // "": built
	}{
		{"none", style{strip: true}, ""},
		{"OCaml by its option", style{flags: []string{`-DRUNTIME="OCAMLRUNPARAM"`}, strip: true}, "OCaml"},
		{"OCaml by a symbol", style{flags: []string{"-DFRAMES"}}, "OCaml"},
		{"OCaml by a dynamic symbol", style{flags: []string{"-DFRAMES", "-rdynamic"}, strip: true}, "OCaml"},
		{"Haskell by its option", style{flags: []string{`-DRUNTIME="GHCRTS"`}, strip: true}, "Haskell"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, fixed := compile(t, "runtimes.c", c.style)
			r, _ := run(t, base, fixed, build.Options{})
			if same, _ := run(t, base, base, build.Options{}); same.Verdict != patch.Nothing {
				t.Errorf("the same file: verdict %s: %v", same.Verdict, same.Reasons)
			}
			switch refused := r.Verdict == patch.Refused; {
			case refused != (c.says != ""):
				t.Errorf("verdict %s: %v", r.Verdict, r.Reasons)
			case refused && (!slices.Equal(codes(r), []string{"unsupported-image"}) || !strings.Contains(r.Reasons[0].Detail, "compiled from "+c.says)):
				t.Errorf("%v", r.Reasons)
			}
		})
	}
}
