package proc_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hotpatch/internal/testkit"
)

func root() bool { return os.Geteuid() == 0 }

// compile builds a C file of testdata to out.
func compile(t testing.TB, src, out string, flags ...string) string {
	t.Helper()
	return testkit.Compile(t, out, append([]string{"-O1", filepath.Join("testdata", src)}, flags...)...)
}

func victim(t testing.TB, flags ...string) string {
	t.Helper()
	return compile(t, "victim.c", filepath.Join(t.TempDir(), "victim"), append(flags, "-pthread", "-ldl")...)
}

// library is a library that no other run of these tests has, so that its users
// are ours alone.
func library(t testing.TB, flags ...string) string {
	t.Helper()
	flags = append(flags, testkit.OwnBuildID())
	return compile(t, "lib.c", filepath.Join(t.TempDir(), "libvictim.so"), append(flags, "-shared", "-fPIC")...)
}

// child is a running victim.
type child struct {
	*exec.Cmd
	main uint64 // run-time address of main
}

func start(t testing.TB, file string, args ...string) child {
	t.Helper()
	return startWith(t, nil, file, args...)
}

func startWith(t testing.TB, attr *syscall.SysProcAttr, file string, args ...string) child {
	t.Helper()
	c := child{Cmd: exec.Command(file, args...)}
	c.SysProcAttr = attr
	_, out := testkit.Start(t, c.Cmd)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("victim did not get ready: %v", err)
	}
	if _, err := fmt.Sscanf(line, "ready main=%x", &c.main); err != nil {
		t.Fatalf("victim said %q", line)
	}
	return c
}

// symbol is an address in a file.
func symbol(t testing.TB, file, name string) uint64 {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name == name {
			return s.Value
		}
	}
	t.Fatalf("no symbol %s in %s", name, file)
	return 0
}

// asNobody runs a test of this binary again as an ordinary user.
func asNobody(t *testing.T, name string, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The binary is in a directory that others may not enter.
	open := filepath.Join(openDir(t), "proc.test")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, b, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(open, "-test.run=^"+name+"$", "-test.v")
	c.Dir = filepath.Dir(open)
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	return string(out)
}

// openDir is a directory that every user may enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proc-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
