package types_test

import (
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
	"hotpatch/internal/types"
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
	testkit.Run(t, "strip", "-o", path+".stripped", path)
	return path + ".stripped"
}

func run(t testing.TB, tool string, args ...string) {
	t.Helper()
	testkit.Run(t, tool, args...)
}

func open(t testing.TB, path string) *image.Image {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// compare compares all types of two images; known is false where one has none.
func compare(base, fixed *image.Image) (found []types.Difference, known bool, err error) {
	p, err := types.Read(base, fixed)
	if p == nil {
		return nil, false, err
	}
	return p.Compare(nil), true, err
}
