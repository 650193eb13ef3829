package proc_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"hotpatch/internal/proc"
)

// Where the kernel opens no file to us, another way has to read the same.

func TestMemoryReadsTheSameBothWays(t *testing.T) {
	c := start(t, victim(t))
	pid := c.Process.Pid
	file, err := proc.OpenMem(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	remote, err := proc.OpenRemote(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	var a, b [64]byte
	if _, err := file.ReadAt(a[:], int64(c.main)); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.ReadAt(b[:], int64(c.main)); err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Errorf("% x and % x", a, b)
	}
	if n, err := remote.ReadAt(b[:], 16); err == nil || n != 0 {
		t.Errorf("read %d bytes where nothing is mapped", n)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Process.Wait()
	if _, err := remote.ReadAt(b[:], int64(c.main)); !errors.Is(err, proc.ErrGone) {
		t.Errorf("after its end: %v", err)
	}
}

func TestMemoryDoesNotFollowAProcessIntoAnotherProgram(t *testing.T) {
	c := start(t, victim(t, "-no-pie"), "exec")
	remote, err := proc.OpenRemote(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	var b [8]byte
	if _, err := remote.ReadAt(b[:], int64(c.main)); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil { // it starts itself again
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		// The program is at the same address as before: only we can tell.
		if _, err = remote.ReadAt(b[:], int64(c.main)); err != nil {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("reads the program that came after")
		}
	}
	if !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
}

func TestAuxiliaryVectorIsOnTheStack(t *testing.T) {
	c := start(t, victim(t), "some", "arguments", "")
	same(t, c.Process.Pid)
}

// TestAuxiliaryVectorIsFoundBehindWhatAProgramHasWritten: many daemons take
// variables out of their environment.
func TestAuxiliaryVectorIsFoundBehindWhatAProgramHasWritten(t *testing.T) {
	c := start(t, victim(t), "unset")
	same(t, c.Process.Pid)
}

func same(t *testing.T, pid int) {
	t.Helper()
	want, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(int) ([]byte, error){"file": proc.Auxv, "stack": proc.StackAuxv} {
		got, err := read(pid)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.HasPrefix(want, got) || len(bytes.Trim(want[len(got):], "\x00")) != 0 {
			t.Errorf("%s: % x\nnot % x", name, got, want)
		}
	}
}
