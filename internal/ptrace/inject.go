package ptrace

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	// ErrBorrow: this thread cannot be borrowed now; another one, or later, may do.
	ErrBorrow = errors.New("thread cannot be borrowed")
	// ErrSeccomp: the thread runs under a seccomp filter that we may not suspend.
	ErrSeccomp = errors.New("seccomp filter cannot be suspended")
)

// Injection is one loan of a thread.
type Injection struct {
	TID  int
	Room uint64 // StubRoom bytes of executable memory that nothing uses
	// Calls are made in order until one fails (returns -errno).
	Calls []Call
	// Step is told each point at which a test may kill us, or have what comes
	// next fail. nil: nobody.
	Step func(point string) error
	// Held, if not nil, is set to how long the process was held up at most. For a
	// thread that ran: from our asking it to stop until it was let go. One that
	// was in a system call does not miss the time; but others may wait for what
	// the calls change: from the start of each to our seeing its end.
	Held *time.Duration
	// Data is what the calls need in memory; see dataAt.
	data []byte
	// took, if not nil, is told what each call returned, before the next.
	took func(call int, result uint64)
	// NoFilter says that a thread with a seccomp filter is not to be borrowed.
	NoFilter bool
}

// Inject borrows a running thread for a moment to make system calls, and gives
// it back exactly as it was: registers (vector state is never touched),
// signal mask, pending signals, an interrupted system call. It returns what
// each call that was made returned.
//
// If we are killed at any instant, the thread finishes the stub by itself and
// goes on with its own work. The stub's bytes then stay in the room, tagged.
// The one exception is a thread under a seccomp filter that kills: the filter
// is suspended only as long as we live (ErrSeccomp where even that is not
// permitted).
func (t *Tracer) Inject(m *Mem, in Injection) (results []uint64, err error) {
	step := in.Step
	if step == nil {
		step = func(string) error { return nil }
	}
	begin := time.Now()
	back, stop, err := t.borrow(m, in)
	if err != nil {
		return nil, err
	}
	var inCalls time.Duration
	ran := int64(back.Orig_rax) < 0 // it was in no system call
	if in.Held != nil {
		defer func() {
			if *in.Held = inCalls; ran {
				*in.Held = time.Since(begin)
			}
		}()
	}
	mask, was, err := t.install(m, in, back, step)
	if err != nil {
		t.giveBack(in.TID, back, stop)
		return nil, err
	}
	entry := back
	entry.Rip = in.Room
	entry.Orig_rax = noSyscall // the kernel must not restart anything on the way there
	if err = t.setRegs(in.TID, &entry); err != nil {
		err = fmt.Errorf("set registers: %w", err)
	} else if err = step("registers-set"); err == nil {
		// From here on the stub itself leads back, whatever happens to us. Signals
		// wait until the thread is itself again; registers first, so that a death
		// between the two leaves a thread that sets its own mask back.
		if err = t.setSigMask(in.TID, ^uint64(0)); err != nil {
			err = fmt.Errorf("hold signals: %w", err)
		} else if err = step("signals-held"); err == nil {
			results, inCalls, err = t.runStub(in, ran, step)
		}
		_ = t.setSigMask(in.TID, mask)
		if serr := step("calls-made"); err == nil {
			err = serr
		}
	}
	switch {
	case errors.Is(err, ErrGone):
		t.bury(in.TID)
	case errors.Is(err, ErrTimeout):
		t.abandoned = true // still inside a call: the stub finishes alone
	default:
		// With the original registers, syscall number included, detaching lets
		// the kernel restart what we interrupted.
		werr := t.endLoan(m, in, back, stop, was, step)
		if err == nil {
			err = werr
		}
	}
	return results, err
}

// endLoan gives the thread back, and the room.
func (t *Tracer) endLoan(m *Mem, in Injection, back Regs, stop Stop, was []byte, step func(string) error) error {
	if !m.Writable() {
		// The thread is the only way to write, so before it goes; and it has its own
		// registers before that, as always.
		t.restore(in.TID, back, stop)
		err := t.write(in.TID, m, was, in.Room)
		t.letGo(in.TID, stop)
		return err
	}
	t.giveBack(in.TID, back, stop)
	err := step("given-back")
	if _, cerr := m.WriteAt(was, int64(in.Room)); cerr != nil {
		err = fmt.Errorf("clear stub: %w", cerr)
	}
	return err
}

// install writes the stub into the room. It returns the thread's signal mask
// and what was in the room. On an error the room is as it was.
func (t *Tracer) install(m *Mem, in Injection, back Regs, step func(string) error) (mask uint64, was []byte, err error) {
	if err := step("borrowed"); err != nil {
		return 0, nil, err
	}
	if mask, err = t.sigMask(in.TID); err != nil {
		return 0, nil, fmt.Errorf("read signal mask: %w", err)
	}
	code := stub(in.Room, in.Calls, in.data, mask, userResume(back))
	if code == nil {
		return 0, nil, fmt.Errorf("stub for %d calls does not fit %d bytes", len(in.Calls), StubRoom)
	}
	was = make([]byte, StubRoom)
	if _, err := m.ReadAt(was, int64(in.Room)); err != nil {
		return 0, nil, err
	}
	if IsStub(was) {
		clear(was) // a leftover in padding: zero was there before it
	}
	err = t.write(in.TID, m, code, in.Room)
	if err == nil {
		err = t.sees(in.TID, in.Room, code)
	}
	if err == nil {
		if err = step("stub-written"); err == nil {
			return mask, was, nil
		}
	}
	if cerr := t.write(in.TID, m, was, in.Room); cerr != nil {
		err = fmt.Errorf("%w; clear stub: %w", err, cerr)
	}
	return 0, nil, fmt.Errorf("write stub: %w", err)
}

// sees makes sure that the memory written to is the one that the thread runs in.
// It is another one when the process has started another program since m was
// opened and somebody, such as a child cloned with CLONE_VM, keeps the old one.
// The thread stands still and can start no program now. The two ends of the stub
// are proof enough: there is none in a program that has just started.
func (t *Tracer) sees(tid int, at uint64, code []byte) error {
	for _, i := range []int{0, len(code) - wordSize} {
		now, err := t.word(tid, at+uint64(i))
		if err != nil && !errors.Is(err, ErrGone) || err == nil && now != [wordSize]byte(code[i:i+wordSize]) {
			err = ErrReplaced
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// borrow stops the thread where it can be diverted.
func (t *Tracer) borrow(m *Mem, in Injection) (Regs, Stop, error) {
	if err := t.seize(in.TID, unix.PTRACE_O_TRACESYSGOOD); err != nil {
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
	t.hide(in.TID, r, s) // at once: it must hold if we are killed now
	if s.Kind != Interrupted && s.Kind != GroupStop {
		// A signal is on its way: let it through rather than carry it about.
		t.giveBack(in.TID, r, s)
		return Regs{}, Stop{}, fmt.Errorf("thread %d has a signal to handle: %w", in.TID, ErrBorrow)
	}
	if err := t.suitable(m, in, &r); err != nil {
		t.giveBack(in.TID, r, s)
		return Regs{}, Stop{}, fmt.Errorf("thread %d: %w", in.TID, err)
	}
	return r, s, nil
}

const (
	reqGetRseq     = 0x420f // PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13
	reqGetDispatch = 0x4211 // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, Linux 6.4

	userCode64 = 0x33 // __USER_CS
)

// suitable says whether a stopped thread can make system calls for us and go
// on as if nothing had been. Requests that the kernel does not know yet concern
// features that it does not have either, or that we then cannot see.
func (t *Tracer) suitable(m *Mem, in Injection, r *Regs) error {
	tid := in.TID
	if r.Cs != userCode64 {
		return fmt.Errorf("it runs 32-bit code: %w", ErrBorrow)
	}
	var dispatch struct{ mode, selector, offset, length uint64 }
	if request(reqGetDispatch, tid, unsafe.Sizeof(dispatch), uintptr(unsafe.Pointer(&dispatch))) == nil && dispatch.mode != 0 {
		return fmt.Errorf("its system calls go to a dispatcher of its own (Wine?): %w", ErrBorrow)
	}
	var rseq struct {
		area             uint64
		size, sig, flags uint32
		_                uint32
	}
	inUserCode := int64(r.Orig_rax) < 0
	if inUserCode && request(reqGetRseq, tid, unsafe.Sizeof(rseq), uintptr(unsafe.Pointer(&rseq))) == nil && rseq.area != 0 {
		// Inside a restartable sequence (struct rseq, rseq_cs at 8): leaving it
		// would lose its protection.
		var section [8]byte
		if _, err := m.ReadAt(section[:], int64(rseq.area)+8); err != nil {
			return err
		}
		if section != [8]byte{} {
			return fmt.Errorf("it is in a restartable sequence: %w", ErrBorrow)
		}
	}
	// A thread without a filter gets one at any moment where another thread of
	// the process asks for it (SECCOMP_FILTER_FLAG_TSYNC), also while it stands
	// in our loan. So filters are suspended ahead, where that is permitted.
	suspended := request(unix.PTRACE_SETOPTIONS, tid, 0, unix.PTRACE_O_TRACESYSGOOD|optSuspendSeccomp)
	mode, err := seccompMode(strconv.Itoa(tid))
	if err != nil {
		return fmt.Errorf("read seccomp mode: %w", err)
	}
	switch {
	case mode == 0:
		return nil
	case in.NoFilter:
		return fmt.Errorf("%w: none that has one is borrowed", ErrSeccomp)
	case suspended != nil:
		if own, rerr := seccompMode("self"); rerr == nil && own != 0 {
			return fmt.Errorf("%w: hotpatch itself runs under a seccomp filter", ErrSeccomp)
		}
		return fmt.Errorf("%w: %w (needs CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE)", ErrSeccomp, suspended)
	}
	return nil
}

func (t *Tracer) giveBack(tid int, r Regs, s Stop) {
	t.restore(tid, r, s)
	t.letGo(tid, s)
}

func (t *Tracer) restore(tid int, r Regs, s Stop) {
	hideStop(&r, s)
	if err := t.setRegs(tid, &r); err != nil && !errors.Is(err, ErrGone) {
		t.abandoned = true
	}
}

// waitSoon is wait for a thread that has a processor of its own and is stopped
// within some microseconds: to sleep meanwhile would keep it longer.
func (t *Tracer) waitSoon(tid int, deadline time.Time) (Stop, error) {
	const looks = 64 // of less than a microsecond each
	for range looks {
		var ws int32
		r, _, e := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&ws)), unix.WNOHANG|unix.WALL, 0, 0, 0)
		if s := unix.WaitStatus(ws); e == 0 && int(r) == tid {
			if s.Exited() || s.Signaled() {
				return Stop{}, ErrGone
			}
			return decodeStop(s), nil
		}
	}
	return t.wait(tid, deadline)
}

// runStub follows the thread through the stub's system calls and stops behind
// the last one of in.Calls, or behind the first that fails.
func (t *Tracer) runStub(in Injection, ran bool, step func(string) error) (results []uint64, inCalls time.Duration, err error) {
	deadline := time.Now().Add(2 * time.Second)
	var pass unix.Signal
	var begin time.Time
	for entered := false; ; {
		if err := t.resumeToSyscall(in.TID, pass); err != nil {
			return results, inCalls, fmt.Errorf("resume thread %d: %w", in.TID, err)
		}
		pass = 0
		wait := t.wait
		if ran {
			wait = t.waitSoon
		}
		s, err := wait(in.TID, deadline)
		if err != nil {
			return results, inCalls, fmt.Errorf("thread %d in its loan: %w", in.TID, err)
		}
		switch s.Kind {
		case Delivery:
			pass = s.Signal // SIGSTOP cannot be held back; it takes effect afterwards
			continue
		case GroupStop, Interrupted, Event:
			continue
		}
		_ = step("syscall-stop") // only to be killed at: nothing can fail here but by the thread's end
		if entered = !entered; entered {
			begin = time.Now()
			continue
		}
		inCalls += time.Since(begin)
		r, err := t.regs(in.TID)
		if err != nil {
			return results, inCalls, fmt.Errorf("read result of call %d: %w", len(results), err)
		}
		results = append(results, r.Rax)
		failed := r.Rax > ^uint64(4095)
		if in.took != nil && !failed {
			in.took(len(results)-1, r.Rax)
		}
		if failed || len(results) == len(in.Calls) {
			return results, inCalls, nil
		}
	}
}
