package watch_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/watch"
)

// library is libanswer with its build-id.
func library(t testing.TB) (file, id string) {
	t.Helper()
	file = testkit.Compile(t, filepath.Join(t.TempDir(), "libanswer.so"), "testdata/lib.c", "-shared", "-fPIC", testkit.OwnBuildID())
	return file, testkit.BuildID(t, file)
}

// run starts a program and ends it with the test. ready waits for its word.
func run(t testing.TB, file string, args ...string) (pid int, in io.Writer, ready func()) {
	t.Helper()
	c := exec.Command(file, args...)
	w, out := testkit.Start(t, c)
	return c.Process.Pid, w, func() {
		t.Helper()
		if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("program said %q: %v", line, err)
		}
	}
}

// seen collects sightings by process.
type seen struct {
	mu   sync.Mutex
	all  map[int][]watch.Sighting
	more chan struct{}
	stop func() // ends the watcher, and waits for its end
}

// watching runs a watcher until the test ends.
func watching(t testing.TB, o watch.Options, id string, files ...string) *seen {
	t.Helper()
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	w, err := watch.New([]string{id}, files, o)
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range w.Lacks() {
		testkit.Need(t, contains(o.Without, s), string(s)+" events: "+err.Error())
	}
	s := &seen{all: map[int][]watch.Sighting{}, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, s.add) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	<-ready
	return s
}

func contains(all []watch.Signal, s watch.Signal) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}

func (s *seen) add(x watch.Sighting) {
	s.mu.Lock()
	s.all[x.PID] = append(s.all[x.PID], x)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// first waits for the first sighting of a process.
func (s *seen) first(t testing.TB, pid int) watch.Sighting {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		found := s.all[pid]
		s.mu.Unlock()
		if len(found) > 0 {
			return found[0]
		}
		select {
		case <-s.more:
		case <-time.After(50 * time.Millisecond):
		case <-late:
			t.Fatalf("process %d was never seen", pid)
		}
	}
}

func TestProcessThatRunsAlreadyIsSeen(t *testing.T) {
	lib, id := library(t)
	pid, _, ready := run(t, testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib))
	ready()
	s := watching(t, watch.Options{Without: []watch.Signal{watch.Open, watch.Exec}}, id)
	if got := s.first(t, pid); got.Via != watch.Rescan || got.Start == 0 {
		t.Errorf("seen as %+v, want by a rescan", got)
	}
}

func TestProcessThatStartsIsSeenAndNoneIsMissed(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib)
	s := watching(t, watch.Options{Rescan: time.Hour}, id, lib)
	for range 40 {
		before := time.Now()
		pid, _, _ := run(t, user)
		got := s.first(t, pid)
		if got.Via == watch.Rescan {
			t.Fatalf("seen by a rescan, want by an event: %+v", got)
		}
		if got.At.Before(before) || got.Seen.Before(got.At) {
			t.Fatalf("began at %v, seen at %v, started after %v", got.At, got.Seen, before)
		}
	}
}

func TestLibraryThatIsLoadedLaterIsSeen(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-ldl")
	s := watching(t, watch.Options{Rescan: time.Hour, Without: []watch.Signal{watch.Exec}}, id, lib)
	pid, in, ready := run(t, user, lib)
	time.Sleep(20 * time.Millisecond)
	s.mu.Lock()
	early := len(s.all[pid])
	s.mu.Unlock()
	if early > 0 {
		t.Fatal("seen before it loaded the library")
	}
	if _, err := io.WriteString(in, "l"); err != nil {
		t.Fatal(err)
	}
	ready()
	if got := s.first(t, pid); got.Via != watch.Open {
		t.Errorf("seen by %s, want by its opening the file", got.Via)
	}
}

// A copy is another file: as in a container that nobody has run yet.
func TestCopyInAnotherMountNamespaceIsSeenByExec(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	unshare, err := exec.LookPath("unshare")
	testkit.Need(t, err == nil, "unshare (util-linux)")
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib)
	s := watching(t, watch.Options{Rescan: time.Hour}, id) // knows no file
	pid, _, ready := run(t, unshare, "--mount", user)
	ready()
	if got := s.first(t, pid); got.Via == watch.Rescan {
		t.Errorf("seen by %s, want by an event", got.Via)
	}
}

// What one process maps is watched for all others from then on.
func TestFileOfARunningProcessIsWatched(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib)
	first, _, ready := run(t, user)
	ready()
	s := watching(t, watch.Options{Rescan: time.Hour, Without: []watch.Signal{watch.Exec}}, id) // knows no file
	s.first(t, first)
	second, _, _ := run(t, user)
	if got := s.first(t, second); got.Via != watch.Open {
		t.Errorf("seen by %s, want by its opening the file", got.Via)
	}
}

func TestRescanFindsWhatNoSignalTold(t *testing.T) {
	lib, id := library(t)
	user := testkit.Compile(t, filepath.Join(t.TempDir(), "user"), "testdata/user.c", "-DLINKED", lib)
	s := watching(t, watch.Options{Rescan: 20 * time.Millisecond, Without: []watch.Signal{watch.Open, watch.Exec}}, id)
	pid, _, _ := run(t, user)
	if got := s.first(t, pid); got.Via != watch.Rescan || !got.At.IsZero() {
		t.Errorf("seen as %+v, want by a rescan", got)
	}
}

func TestProcessWithoutTheImageIsNotSeen(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	lib, id := library(t)
	s := watching(t, watch.Options{Rescan: 50 * time.Millisecond}, id, lib)
	cat, err := exec.LookPath("sleep")
	testkit.Need(t, err == nil, "sleep")
	pid, _, _ := run(t, cat, "60")
	if _, err := os.ReadFile(lib); err != nil { // opening is not mapping
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all[pid]) > 0 || len(s.all[os.Getpid()]) > 0 {
		t.Errorf("seen: %v", s.all)
	}
}

func TestCrashesAreToldFromOtherEnds(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	ctx, cancel := context.WithCancel(context.Background())
	seen := make(chan int, 64)
	done := make(chan error, 1)
	go func() {
		done <- watch.Crashes(ctx, func(pid int, by syscall.Signal) {
			if by != syscall.SIGSEGV {
				return
			}
			select {
			case seen <- pid:
			case <-ctx.Done():
			}
		}, func() {})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	end := func(by syscall.Signal) int {
		c := exec.Command("sleep", "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_ = c.Process.Signal(by)
		_ = c.Wait() // a signal is an error to it
		return c.Process.Pid
	}
	late := time.After(20 * time.Second)
	for { // until it listens
		ended, crashed := end(syscall.SIGTERM), end(syscall.SIGSEGV)
		for waiting := true; waiting; { // others on this host may crash, too
			select {
			case pid := <-seen:
				if pid == ended {
					t.Errorf("%d ended as it was asked to, and counts as a crash", pid)
				}
				if pid == crashed {
					return
				}
			case <-time.After(100 * time.Millisecond):
				waiting = false
			case <-late:
				t.Fatal("no crash was seen")
			}
		}
	}
}

func TestWatchingNothingIsAnError(t *testing.T) {
	for _, ids := range [][]string{nil, {""}, {"ab", ""}} {
		if _, err := watch.New(ids, nil, watch.Options{}); err == nil {
			t.Errorf("New(%q) is no error", ids)
		}
	}
}

func TestOrdinaryUserHasTheRescan(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs to be an ordinary user")
	}
	w, err := watch.New([]string{"ab"}, nil, watch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if len(w.Lacks()) == 0 {
		t.Error("an ordinary user gets every event?")
	}
}
