package diff_test

import (
	"os/exec"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// compile builds C source and returns the path of the program, symbols and all.
func compile(t testing.TB, source string, flags ...string) string {
	t.Helper()
	return testkit.Program(t, source, flags...)
}

// compileFiles builds a program of several sources; headers are among them.
func compileFiles(t testing.TB, files map[string]string, flags ...string) string {
	t.Helper()
	return testkit.ProgramOf(t, files, flags...)
}

func strip(t testing.TB, path string) string {
	t.Helper()
	out := path + ".stripped"
	if text, err := exec.Command(testkit.Tool(t, "strip"), "-o", out, path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, text)
	}
	return out
}

func run(t testing.TB, tool string, args ...string) {
	t.Helper()
	if text, err := exec.Command(testkit.Tool(t, tool), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, text)
	}
}

func open(t testing.TB, path string) *image.Image {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func compare(t testing.TB, base, fixed string) *diff.Diff {
	t.Helper()
	return compareImages(t, open(t, base), open(t, fixed))
}

func compareImages(t testing.TB, base, fixed *image.Image) *diff.Diff {
	t.Helper()
	d, err := diff.Compare(t.Context(), base, fixed, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// funcs are the functions of the fixed image by the symbols of path.
func funcs(t testing.TB, path string, d *diff.Diff) map[string]*diff.Func {
	t.Helper()
	out := map[string]*diff.Func{}
	for _, s := range open(t, path).Symbols {
		if f := d.Fixed.Entry(s.Addr); f != nil {
			out[s.Name] = f
		}
	}
	return out
}

func symbolOf(t testing.TB, path, name string) image.Addr {
	t.Helper()
	for _, s := range open(t, path).Symbols {
		if s.Name == name {
			return s.Addr
		}
	}
	t.Fatalf("%s has no symbol %s", path, name)
	return 0
}
