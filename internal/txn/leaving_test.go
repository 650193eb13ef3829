package txn_test

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

// TestBorrowedThreadIsLetGoWhenItsProcessStartsAnotherProgram: the kernel lets a
// process start another program only when its other threads are gone, and one
// that is traced is not until its tracer has taken note.
func TestBorrowedThreadIsLetGoWhenItsProcessStartsAnotherProgram(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	for _, point := range []string{"borrowed", "stub-written", "registers-set", "signals-held", "syscall-stop", "calls-made", "given-back"} {
		t.Run(point, func(t *testing.T) {
			for range 20 {
				if leavesAt(t, start(t, base, "leaves"), b, point) {
					return
				}
			}
			t.Error("its first thread was borrowed every time, which is to start the program")
		})
	}
}

// leavesAt has the victim start another program when a transaction is at a point.
// It is false where the thread that would do so is the one in our hands.
func leavesAt(t *testing.T, v *victim, b *patch.Bundle, point string) bool {
	t.Helper()
	left, tried := make(chan error, 1), false
	o := txn.WithStep(txn.Options{}, func(p string) {
		if p != point || tried {
			return
		}
		tried = true
		if traced(v.pid) {
			left <- errBorrowed
			return
		}
		left <- v.leave()
	})
	began := time.Now()
	got := make(chan txn.Result, 1)
	go func() { got <- txn.Apply(context.Background(), v.pid, b, o) }()
	select {
	case err := <-left:
		if errors.Is(err, errBorrowed) {
			<-got
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s was not reached", point)
	}
	if l := v.line(); l != "ready "+itoa(v.pid) {
		t.Fatalf("victim says %q", l)
	}
	t.Logf("the next program after %v", time.Since(began))
	select {
	case r := <-got:
		t.Logf("%+v", r)
	case <-time.After(20 * time.Second):
		t.Fatal("apply does not return")
	}
	v.running()
	return true
}

var errBorrowed = errors.New("the thread is borrowed")

// TestProcessThatStartsAnotherProgramWhileItsThreadsAreSeized: it waits for the
// end of those that we have, and we for it when we ask for another one.
func TestProcessThatStartsAnotherProgramWhileItsThreadsAreSeized(t *testing.T) {
	base, _ := compile(t, "moving")
	v := start(t, base, "leaves")
	tids, err := proc.Threads(v.pid)
	if err != nil || len(tids) != 3 {
		t.Fatalf("threads %v, %v", tids, err)
	}
	left := false
	err = ptrace.Run(func(tr *ptrace.Tracer) error {
		g, err := tr.Seize(func() ([]int, error) {
			switch {
			case left:
				return proc.Threads(v.pid)
			case alive(v.pid) == 3 && traced(tids[1]):
				left = true
				return tids[:1], v.leave()
			}
			return tids[1:2], nil
		})
		defer g.Release()
		return err
	})
	if !left {
		t.Errorf("not tried: %v", err)
	}
	if l := v.line(); l != "ready "+itoa(v.pid) {
		t.Fatalf("victim says %q", l)
	}
	v.running()
	v.want("q", "2")
}

// TestProcessThatStartsAnotherProgramWhileItHasAThreadThatNobodyKnows: one that
// the kernel attached to us when it was cloned, and that no listing has shown.
func TestProcessThatStartsAnotherProgramWhileItHasAThreadThatNobodyKnows(t *testing.T) {
	base, _ := compile(t, "moving")
	v := start(t, base, "leaves")
	tids, err := proc.Threads(v.pid)
	if err != nil || len(tids) != 3 {
		t.Fatalf("threads %v, %v", tids, err)
	}
	parent := tids[1]
	left := false
	done := make(chan error, 1)
	go func() {
		done <- ptrace.Run(func(tr *ptrace.Tracer) error {
			g, err := tr.Seize(func() ([]int, error) {
				switch {
				case left:
					return proc.Threads(v.pid)
				case !traced(parent):
					return []int{parent}, nil
				}
				if err := unix.Kill(v.pid, unix.SIGUSR1); err != nil {
					return nil, err
				}
				for range 5000 {
					if alive(v.pid) == 4 {
						left = true
						return tids[:1], v.leave()
					}
					time.Sleep(time.Millisecond)
				}
				return nil, errors.New("no thread was started")
			})
			defer g.Release()
			return err
		})
	}()
	select {
	case err = <-done:
	case <-time.After(20 * time.Second):
		v.kill()
		t.Fatal("the tracer and the process wait for each other")
	}
	if !left {
		t.Errorf("not tried: %v", err)
	}
	if l := v.line(); l != "ready "+itoa(v.pid) {
		t.Fatalf("victim says %q", l)
	}
	v.running()
	v.want("q", "2")
}

// TestProcessThatStartsAnotherProgramIsNotHeldUp: it stands in uninterruptible
// sleep until note is taken of the end of its other threads, and is not waited
// for meanwhile.
func TestProcessThatStartsAnotherProgramIsNotHeldUp(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	for _, point := range []string{"seized", "sleepers-stopped"} {
		quickest := time.Hour
		for range 5 { // a busy host may hold it up
			v := start(t, base, "leaves")
			var left time.Time
			var err error
			o := txn.WithStep(txn.Options{}, func(p string) {
				if p == point && left.IsZero() {
					err, left = v.leaveUnasked(base), time.Now()
				}
			})
			got := make(chan txn.Result, 1)
			go func() { got <- txn.Apply(context.Background(), v.pid, b, o) }()
			if l := v.line(); l != "ready "+itoa(v.pid) {
				t.Fatalf("victim says %q", l)
			}
			began := time.Now()
			if r := <-got; err != nil {
				t.Fatalf("%v, %+v", err, r)
			}
			quickest = min(quickest, began.Sub(left))
			v.running()
			v.kill()
		}
		if t.Logf("%s: held up for %v", point, quickest); quickest > 100*time.Millisecond {
			t.Errorf("%s: the next program began %v later", point, quickest)
		}
	}
}

// traced says whether a thread has a tracer.
func traced(tid int) bool {
	b, _ := os.ReadFile("/proc/" + itoa(tid) + "/status")
	return !bytes.Contains(b, []byte("TracerPid:\t0\n"))
}

// leave has a victim start another program, and waits until its other threads
// have been killed for that.
func (v *victim) leave() error {
	if err := unix.Kill(v.pid, unix.SIGUSR2); err != nil {
		return err
	}
	return v.left()
}

// leaveUnasked is leave without a signal, which the victim's tracer would have to
// let through.
func (v *victim) leaveUnasked(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	modules, err := proc.Modules(v.pid)
	if err != nil {
		return err
	}
	mem, err := ptrace.OpenMem(v.pid)
	if err != nil {
		return err
	}
	defer mem.Close()
	for _, s := range symbols {
		if s.Name == "leave" {
			if _, err := mem.WriteAt([]byte{1}, int64(modules[0].Bias+s.Value)); err != nil {
				return err
			}
			return v.left()
		}
	}
	return errors.New("it has no variable to tell it by")
}

// left waits until the other threads have been killed.
func (v *victim) left() error {
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
		if alive(v.pid) == 1 {
			return nil
		}
	}
	return errors.New("it does not start another program")
}

// alive is how many threads a process has that are no zombies.
func alive(pid int) (n int) {
	tasks, _ := filepath.Glob("/proc/" + itoa(pid) + "/task/*/stat")
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if err == nil && b[bytes.LastIndexByte(b, ')')+2] != 'Z' {
			n++
		}
	}
	return n
}

// TestProcessWithThreadsThatStartsAnotherProgramMeanwhile again and again, at any
// moment of a transaction.
func TestProcessWithThreadsThatStartsAnotherProgramMeanwhile(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "leaves-often", "100")
	settled := make(chan string, 1)
	go func() { settled <- v.line() }()
	for {
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 500 * time.Millisecond})
		switch r.Outcome {
		case txn.Applied, txn.Already, txn.Failed, txn.Skipped, txn.Busy:
		default:
			t.Fatalf("%+v", r)
		}
		select {
		case l := <-settled:
			if l != "settled" {
				t.Fatalf("victim says %q", l)
			}
			v.running()
			return
		case <-time.After(time.Millisecond):
		}
	}
}
