// Package testkit is what the tests of several packages need: what may be left
// out, a compiler, and a program that ends with its test. Only tests import it,
// and it knows nothing of the project.
package testkit

import (
	"bufio"
	"crypto/rand"
	"debug/elf"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Full tells whether nothing may be left out: HOTPATCH_TEST_FULL=1, as where the
// whole project is judged.
func Full() bool { return os.Getenv("HOTPATCH_TEST_FULL") == "1" }

// Skip leaves a test out and says why; in a full run it fails.
func Skip(t testing.TB, why string) {
	t.Helper()
	if Full() {
		t.Fatalf("%s, and HOTPATCH_TEST_FULL=1 lets nothing be left out", why)
	}
	t.Skip(why)
}

// Need leaves a test out by the name of what is not there.
func Need(t testing.TB, ok bool, what string) {
	t.Helper()
	if !ok {
		Skip(t, "needs "+what)
	}
}

// Tool is the path of a program; a test that needs one which is not installed is
// left out.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	Need(t, err == nil, name)
	return path
}

// Tools leaves a test out that needs a program which is not installed.
func Tools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		Tool(t, name)
	}
}

// Run runs a program to its end and returns what it wrote, to either output; one
// that fails ends the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(Tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Compile has gcc make out, with a build-id, and returns it.
func Compile(t testing.TB, out string, args ...string) string {
	t.Helper()
	Run(t, "gcc", append([]string{"-Wl,--build-id=sha1", "-o", out}, args...)...)
	return out
}

// Program has gcc make a program of C source and returns its path, symbols and all.
func Program(t testing.TB, source string, flags ...string) string {
	t.Helper()
	in := filepath.Join(t.TempDir(), "victim.c")
	out := strings.TrimSuffix(in, ".c")
	if err := os.WriteFile(in, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-O2", "-fPIE", "-pie", "-fcf-protection=none", "-fno-ipa-ra"}, flags...)
	return Compile(t, out, append(args, in)...)
}

// ProgramOf makes a program of several files by their names: C, C++ or headers. It
// knows them by the names alone, not by the directory that they are in.
func ProgramOf(t testing.TB, files map[string]string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	compiler := "gcc"
	args := append([]string{"-O2", "-fPIE", "-pie", "-fcf-protection=none", "-Wl,--build-id=sha1", "-o", "victim"}, flags...)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
		switch filepath.Ext(name) {
		case ".c":
			args = append(args, name)
		case ".cc":
			compiler = "g++"
			args = append(args, name)
		}
	}
	cmd := exec.Command(Tool(t, compiler), args...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", compiler, err, text)
	}
	return filepath.Join(dir, "victim")
}

// OwnBuildID is a flag for Compile: a build-id that no other file has, so that
// who uses the file is known to have got it from this test.
func OwnBuildID() string {
	var id [20]byte
	_, _ = rand.Read(id[:]) // never fails
	return "-Wl,--build-id=0x" + hex.EncodeToString(id[:])
}

// Start starts a program that is killed with the end of the test at the latest.
// What it complains of goes where the test's complaints go.
func Start(t testing.TB, c *exec.Cmd) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Process.Kill()
		c.Wait()
	})
	return in, bufio.NewReader(r)
}

// BuildID reads the GNU build-id of a file, in hex, with debug/elf: in another
// way than the packages under test do.
func BuildID(t testing.TB, file string) string {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".note.gnu.build-id")
	if s == nil {
		t.Fatalf("%s has no build-id", file)
	}
	note, err := s.Data()
	if err != nil || len(note) <= 16 {
		t.Fatalf("build-id of %s: %d bytes, %v", file, len(note), err)
	}
	return hex.EncodeToString(note[16:])
}
