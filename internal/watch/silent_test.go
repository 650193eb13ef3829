package watch_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/watch"
)

// silent is a process with memory that never comes.
type silent struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

func startSilent(t testing.TB) *silent {
	t.Helper()
	testkit.Need(t, os.Geteuid() == 0, "root, to mount")
	victim := testkit.Compile(t, filepath.Join(t.TempDir(), "silent"), "../txn/testdata/victims/silent.c", "-O2", "-pthread", "-Wno-return-type")
	s := &silent{t: t}
	s.in, s.out = testkit.Start(t, exec.Command(victim, t.TempDir(), "120"))
	line := s.line()
	testkit.Need(t, line != "unsupported", "a kernel with FUSE")
	if !strings.HasPrefix(line, "ready ") {
		t.Fatalf("it said %q", line)
	}
	return s
}

func (s *silent) line() string {
	s.t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (s *silent) opens(file string) {
	s.t.Helper()
	fmt.Fprintf(s.in, "o%s\n", file)
	if got := s.line(); got != "opened" {
		s.t.Fatalf("it said %q", got)
	}
}

// A process may draw attention to itself and have memory of a file system whose daemon
// never gives it.
func TestProcessWithMemoryThatDoesNotComeHidesNobodyElse(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib)
	for _, c := range []struct {
		name    string
		without []watch.Signal
	}{
		{"told by an open", nil},
		{"found by a rescan", []watch.Signal{watch.Open, watch.Exec}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := watching(t, watch.Options{Rescan: 50 * time.Millisecond, Without: c.without}, id, lib)
			silent := startSilent(t)
			const looks = 100
			for range looks {
				silent.opens(lib)
				time.Sleep(2 * time.Millisecond)
			}
			pid, _, ready := run(t, user)
			ready()
			s.first(t, pid)
			// Each read that waits keeps a thread: there is not one more for each look,
			// but one for each such process of the host, other tests' among them.
			for until := time.Now().Add(time.Minute); readers() > looks/3; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatalf("%d are reading", readers())
				}
			}
			s.stop() // nor does that wait
		})
	}
}

// readers are how many goroutines read images, those of other processes among them.
func readers() int {
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "hotpatch/internal/proc.modulesIn(")
}
