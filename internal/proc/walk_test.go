package proc_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/testkit"
)

func TestWalkAsksAboutEveryProcessAndForgetsNone(t *testing.T) {
	bad := errors.New("cannot tell")
	self, parent := os.Getpid(), os.Getppid()
	found, denied, err := proc.Walk(func(pid int, buf []byte) (bool, []byte, error) {
		switch pid {
		case self:
			return true, buf, nil
		case parent:
			return true, buf, bad
		}
		return true, buf, proc.ErrGone
	})
	if err != nil || !slices.Equal(found, []int{self}) || len(denied) != 1 || denied[parent] != bad {
		t.Errorf("%v, %v, %v", found, denied, err)
	}
}

// A page of a process may be of a filesystem whose daemon never gives it.
func TestWalkDoesNotWaitForWhoNeverAnswers(t *testing.T) {
	self, parent := os.Getpid(), os.Getppid()
	never := make(chan struct{})
	ask := func(pid int, buf []byte) (bool, []byte, error) {
		if pid == parent {
			<-never
		}
		return pid == self, buf, nil
	}
	for range 2 {
		begin := time.Now()
		found, denied, err := proc.Walk(ask)
		if err != nil || !slices.Equal(found, []int{self}) || !errors.Is(denied[parent], proc.ErrStuck) {
			t.Errorf("%v, %v, %v", found, denied, err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	close(never)
	for range 1000 { // now it may be asked again
		if _, denied, err := proc.Walk(ask); err == nil && denied[parent] == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("it is not asked again")
}

func TestDiskIsAskedOnceForAllWhoSeeTheSameFiles(t *testing.T) {
	var d proc.Disk
	name := t.TempDir() + "/image"
	if err := os.WriteFile(name, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	if id, err := d.BuildID(os.Getpid(), name); id != "" || err != nil {
		t.Fatalf("%q, %v", id, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := d.BuildID(os.Getpid(), name); err != nil {
		t.Errorf("asked again: %v", err)
	}
	var fresh proc.Disk
	if _, err := fresh.BuildID(os.Getpid(), name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("another listing: %v", err)
	}
}

// The short way asks for the root of the first thread, which is gone when that has
// ended. And who has another root is not answered from ours.
func TestDiskLooksThroughThreadsThatLiveAndInTheirRoot(t *testing.T) {
	var d proc.Disk
	name := t.TempDir() + "/image"
	if err := os.WriteFile(name, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	if id, err := d.BuildID(os.Getpid(), name); id != "" || err != nil {
		t.Fatalf("%q, %v", id, err)
	}
	leaderless := start(t, victim(t), "zombie")
	if id, err := d.BuildID(leaderless.Process.Pid, name); id != "" || err != nil {
		t.Errorf("without its leader: %q, %v", id, err)
	}
	testkit.Need(t, root(), "root, to change a root")
	other := t.TempDir()
	victim(t, "-static", "-o", other+"/victim")
	elsewhere := startWith(t, &syscall.SysProcAttr{Chroot: other}, "/victim", "name", "elsewhere")
	if id, err := d.BuildID(elsewhere.Process.Pid, "/victim"); id == "" || err != nil {
		t.Errorf("in another root: %q, %v", id, err)
	}
	if id, err := d.BuildID(os.Getpid(), "/victim"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is in another root: %q, %v", id, err)
	}
}

// The kernel is asked for single mappings, where it can be; the answer is what
// the list of all has.
func TestNamelessCodeIsFoundAsTheListOfMappingsHasIt(t *testing.T) {
	self := os.Getpid()
	listed := func(pid int) (out []proc.Map, err error) {
		ms, err := proc.Maps(pid)
		for _, m := range ms {
			if m.Read && m.Exec && !m.Write && !m.Shared && m.Inode == 0 && m.Dev == "00:00" && m.Path == "" {
				out = append(out, m)
			}
		}
		return out, err
	}
	before, err := listed(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		prot, flags int
		want        bool
	}{
		{"nothing", 0, 0, false},
		{"nameless code", unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON, true},
		{"data", unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_ANON, false},
		{"only to be executed", unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON, false},
		{"writable code", unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON, false},
		{"shared code", unix.PROT_READ | unix.PROT_EXEC, unix.MAP_SHARED | unix.MAP_ANON, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.flags != 0 {
				b, err := unix.Mmap(-1, 0, 4096, c.prot, c.flags)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Munmap(b)
			}
			got, _, err := proc.NamelessCode(self, nil)
			if err != nil || len(got) > len(before) != c.want {
				t.Errorf("%v (before: %v), error %v", got, before, err)
			}
			if want, err := listed(self); !slices.Equal(got, want) || err != nil {
				t.Errorf("%v, listed: %v, error %v", got, want, err)
			}
		})
	}
	pids, err := proc.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		want, err := listed(pid)
		got, _, err2 := proc.NamelessCode(pid, nil)
		if again, err3 := listed(pid); err != nil || err3 != nil || !slices.Equal(again, want) {
			continue // it ended, or changes
		}
		if err2 != nil || !slices.Equal(got, want) {
			t.Errorf("process %d: %v (error %v), listed %v", pid, got, err2, want)
		}
	}
}

// A root may be of a filesystem whose daemon (FUSE) is silent.
func TestRootIsKnownWithoutAskingItsFilesystem(t *testing.T) {
	silent := t.TempDir()
	testkit.Need(t, proc.Mounted(silent), "Linux 5.8")
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	testkit.Need(t, err == nil, "/dev/fuse")
	defer unix.Close(fuse) // the end of the daemon
	err = unix.Mount("silent", silent, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse))
	testkit.Need(t, err == nil, "leave to mount")
	defer unix.Unmount(silent, unix.MNT_DETACH)
	known := make(chan bool, 1)
	go func() { known <- proc.Mounted(silent) }()
	select {
	case ok := <-known:
		if !ok {
			t.Error("it is not known")
		}
	case <-time.After(5 * time.Second):
		t.Error("it is waited for")
	}
}
