package ptrace

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBorrow: this thread cannot be borrowed now; another one, or later, may do.
var ErrBorrow = errors.New("thread cannot be borrowed")

// Injection is one loan of a thread.
type Injection struct {
	TID  int
	Room uint64 // StubRoom bytes of executable memory that nothing uses
	// Calls are made in order until one fails (returns -errno).
	Calls []Call
	// SuspendSeccomp lets the calls pass a seccomp filter. Needs CAP_SYS_ADMIN.
	SuspendSeccomp bool
	// Step is told each point at which a test may kill us. nil: nobody.
	Step func(point string)
}

// Inject borrows a running thread for a moment to make system calls, and gives
// it back exactly as it was: registers (vector state is never touched),
// signal mask, pending signals, an interrupted system call. It returns what
// each call that was made returned.
//
// If we are killed at any instant, the thread finishes the stub by itself and
// goes on with its own work. The stub's bytes then stay in the room, tagged.
func (t *Tracer) Inject(m *Mem, in Injection) (results []uint64, err error) {
	step := in.Step
	if step == nil {
		step = func(string) {}
	}
	back, stop, err := t.borrow(in)
	if err != nil {
		return nil, err
	}
	if r := back; hideStop(&r, stop) {
		_ = t.setRegs(in.TID, &r) // at once: it must hold if we are killed now
	}
	step("borrowed")
	mask, err := t.sigMask(in.TID)
	if err != nil {
		t.giveBack(in.TID, back, stop)
		return nil, fmt.Errorf("read signal mask: %w", err)
	}
	code := stub(in.Room, in.Calls, mask, userResume(back))
	if code == nil {
		t.giveBack(in.TID, back, stop)
		return nil, fmt.Errorf("stub for %d calls does not fit %d bytes", len(in.Calls), StubRoom)
	}
	was := make([]byte, StubRoom)
	if _, err := m.ReadAt(was, int64(in.Room)); err != nil {
		t.giveBack(in.TID, back, stop)
		return nil, err
	}
	if IsStub(was) {
		clear(was) // a leftover in padding: zero was there before it
	}
	if _, err := m.WriteAt(code, int64(in.Room)); err != nil {
		t.giveBack(in.TID, back, stop)
		return nil, fmt.Errorf("write stub: %w", err)
	}
	step("stub-written")

	entry := back
	entry.Rip = in.Room
	entry.Orig_rax = noSyscall // the kernel must not restart anything on the way there
	if err := t.setRegs(in.TID, &entry); err != nil {
		t.giveBack(in.TID, back, stop)
		return nil, fmt.Errorf("set registers: %w", err)
	}
	step("registers-set")
	// From here on the stub itself leads back, whatever happens to us. Signals
	// wait until the thread is itself again; registers first, so that a death
	// between the two leaves a thread that sets its own mask back.
	if err := t.setSigMask(in.TID, ^uint64(0)); err == nil {
		step("signals-held")
		results, err = t.runStub(in, step)
	}
	_ = t.setSigMask(in.TID, mask)
	step("calls-made")
	gone := errors.Is(err, ErrGone)
	if !gone && !errors.Is(err, ErrTimeout) {
		// With the original registers, syscall number included, detaching lets
		// the kernel restart what we interrupted.
		t.giveBack(in.TID, back, stop)
		step("given-back")
		if _, werr := m.WriteAt(was, int64(in.Room)); werr != nil && err == nil {
			err = fmt.Errorf("clear stub: %w", werr)
		}
	} else if !gone {
		t.abandoned = true // still inside a call: the stub finishes alone
	}
	return results, err
}

// borrow stops the thread where it can be diverted.
func (t *Tracer) borrow(in Injection) (Regs, Stop, error) {
	opts := uintptr(unix.PTRACE_O_TRACESYSGOOD)
	if in.SuspendSeccomp {
		opts |= optSuspendSeccomp
	}
	if err := t.seize(in.TID, opts); err != nil {
		if _, dead := t.tracedByUs(in.TID); dead {
			err = ErrGone // the kernel says "not permitted" of the dying too
		}
		return Regs{}, Stop{}, fmt.Errorf("seize thread %d: %w", in.TID, err)
	}
	if err := t.interrupt(in.TID); err != nil {
		t.letGoLate(in.TID)
		return Regs{}, Stop{}, fmt.Errorf("interrupt thread %d: %w", in.TID, err)
	}
	s, err := t.wait(in.TID, time.Now().Add(20*time.Millisecond))
	if errors.Is(err, ErrTimeout) {
		t.letGoLate(in.TID)
		return Regs{}, Stop{}, fmt.Errorf("thread %d: %w", in.TID, ErrBorrow)
	}
	if err != nil {
		return Regs{}, Stop{}, fmt.Errorf("stop thread %d: %w", in.TID, err)
	}
	r, err := t.regs(in.TID)
	if err != nil {
		t.abandoned = true
		return Regs{}, Stop{}, fmt.Errorf("read registers of thread %d: %w", in.TID, err)
	}
	if s.Kind != Interrupted && s.Kind != GroupStop {
		// A signal is on its way: let it through rather than carry it about.
		t.giveBack(in.TID, r, s)
		return Regs{}, Stop{}, fmt.Errorf("thread %d has a signal to handle: %w", in.TID, ErrBorrow)
	}
	return r, s, nil
}

func (t *Tracer) giveBack(tid int, r Regs, s Stop) {
	hideStop(&r, s)
	if err := t.setRegs(tid, &r); err != nil && !errors.Is(err, ErrGone) {
		t.abandoned = true
	}
	t.letGo(tid, s)
}

// runStub follows the thread through the stub's system calls and stops behind
// the last one of in.Calls, or behind the first that fails.
func (t *Tracer) runStub(in Injection, step func(string)) ([]uint64, error) {
	deadline := time.Now().Add(2 * time.Second)
	var results []uint64
	var pass unix.Signal
	for entered := false; ; {
		if err := t.resumeToSyscall(in.TID, pass); err != nil {
			return results, fmt.Errorf("resume thread %d: %w", in.TID, err)
		}
		pass = 0
		s, err := t.wait(in.TID, deadline)
		if err != nil {
			return results, fmt.Errorf("thread %d in its loan: %w", in.TID, err)
		}
		switch s.Kind {
		case Delivery:
			pass = s.Signal // SIGSTOP cannot be held back; it takes effect afterwards
			continue
		case GroupStop, Interrupted, Event:
			continue
		}
		step("syscall-stop")
		if entered = !entered; entered {
			continue
		}
		r, err := t.regs(in.TID)
		if err != nil {
			return results, fmt.Errorf("read result of call %d: %w", len(results), err)
		}
		results = append(results, r.Rax)
		failed := r.Rax > ^uint64(4095)
		if failed || len(results) == len(in.Calls) {
			return results, nil
		}
	}
}
