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

// The collector of C programs looks for pointers in the variables of the files
// that the loader knows, and so not in new ones.
func TestBuildRefusesNewVariablesWhereACollectorWouldNotLook(t *testing.T) {
	gc := filepath.Join(t.TempDir(), "libgc.so.1")
	if text, err := exec.Command(testkit.Tool(t, "gcc"), "-shared", "-Wl,-soname,libgc.so.1", "-x", "c", "/dev/null", "-o", gc).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, c := range []struct {
		file, lib string
		want      patch.Verdict
	}{
		{"new-variable.c", "-lm", patch.Review},
		{"new-variable.c", gc, patch.Refused},
		{"function.c", gc, patch.Clean},
	} {
		base, fixed := compile(t, c.file, style{flags: []string{"-g", "-Wl,--no-as-needed", c.lib}})
		if r, _ := run(t, base, fixed, build.Options{}); r.Verdict != c.want {
			t.Errorf("%s with %s: %s, want %s: %v", c.file, filepath.Base(c.lib), r.Verdict, c.want, r.Reasons)
		}
	}
}
