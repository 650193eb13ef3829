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
	// ErrRoom: what is to hold the stub holds something else.
	ErrRoom = errors.New("the room for the stub is in use")
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
	// data is what the calls need in memory; see dataAt.
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
	l, err := t.Lend(m, in)
	if err != nil {
		return nil, err
	}
	results, err = l.Make(in.Calls, in.Step)
	if eerr := l.End(); err == nil {
		err = eerr
	}
	if in.Held != nil {
		*in.Held = l.Held()
	}
	return results, err
}

// Loan is a thread that stands and makes system calls for us, until End gives it
// back. Should we die between two calls, it goes home by itself. It belongs to
// the Tracer's OS thread, as everything does.
type Loan struct {
	t       *Tracer
	m       *Mem
	in      Injection
	back    Regs // what the thread goes back to
	stop    Stop
	mask    uint64
	was     []byte // what the room held; nil: nothing was written there
	begin   time.Time
	inCalls time.Duration
	entered bool  // the registers lead to the stub
	astray  bool  // the thread does not stand behind the last call
	lost    error // the thread is gone, or does not come back
	held    time.Duration
}

// Lend is the first half of Inject: it borrows the thread and makes no call yet.
func (t *Tracer) Lend(m *Mem, in Injection) (*Loan, error) {
	begin := time.Now()
	back, stop, err := t.borrow(m, in)
	if err != nil {
		return nil, err
	}
	return &Loan{t: t, m: m, in: in, back: back, stop: stop, begin: begin}, nil
}

// Ran says whether the thread was in no system call when it was borrowed.
func (l *Loan) Ran() bool { return int64(l.back.Orig_rax) < 0 }

// Held is how long the process was held up at most (see Injection.Held), once
// the loan has ended.
func (l *Loan) Held() time.Duration { return l.held }

// Make makes the calls, in order until one fails, and returns what they returned.
// Where it returns an error no other call can be made, and the loan is to be
// ended; so it is where one of several calls failed.
func (l *Loan) Make(calls []Call, step func(point string) error) (results []uint64, err error) {
	if step == nil {
		step = func(string) error { return nil }
	}
	if l.lost != nil || l.astray {
		return nil, fmt.Errorf("thread %d makes no more calls: %w", l.in.TID, ErrBorrow)
	}
	start, err := l.install(calls, step)
	if err != nil {
		return nil, err
	}
	l.astray = true // unless it comes back
	entry := l.back
	entry.Rip = l.in.Room + start
	entry.Orig_rax = noSyscall // the kernel must not restart anything on the way there
	if err := l.t.setRegs(l.in.TID, &entry); err != nil {
		return nil, l.note(fmt.Errorf("set registers: %w", err))
	}
	first := !l.entered
	l.entered = true
	if err := step("registers-set"); err != nil {
		return nil, err
	}
	if first {
		// From here on the stub itself leads back, whatever happens to us. Signals
		// wait until the thread is itself again; registers first, so that a death
		// between the two leaves a thread that sets its own mask back.
		if err := l.t.setSigMask(l.in.TID, ^uint64(0)); err != nil {
			return nil, l.note(fmt.Errorf("hold signals: %w", err))
		}
		if err := step("signals-held"); err != nil {
			return nil, err
		}
	}
	results, err = l.run(len(calls), step)
	l.astray = err != nil || len(results) < len(calls)
	return results, l.note(err)
}

// note keeps in mind that the thread is not there any more to be given back.
func (l *Loan) note(err error) error {
	if errors.Is(err, ErrGone) || errors.Is(err, ErrTimeout) {
		l.lost = err
	}
	return err
}

// End gives the thread back. A second call does nothing.
func (l *Loan) End() (err error) {
	if l.t == nil {
		return nil
	}
	t, step := l.t, l.in.Step
	l.t = nil
	if step == nil {
		step = func(string) error { return nil }
	}
	defer func() {
		if l.held = l.inCalls; l.Ran() {
			l.held = time.Since(l.begin)
		}
	}()
	if l.entered {
		_ = t.setSigMask(l.in.TID, l.mask)
		err = step("calls-made")
	}
	switch {
	case errors.Is(l.lost, ErrGone):
		t.bury(l.in.TID)
		return err
	case errors.Is(l.lost, ErrTimeout):
		t.abandoned = true // still inside a call: the stub finishes alone
		return err
	}
	if l.was != nil && !l.m.Writable() && l.stubStays() {
		// The thread is the only way to write, so before it goes; and it has its own
		// registers before that, as always.
		t.restore(l.in.TID, l.back, l.stop)
		if werr := t.write(l.in.TID, l.m, l.was, l.in.Room); werr != nil {
			err = fmt.Errorf("clear stub: %w", werr)
		}
		t.letGo(l.in.TID, l.stop)
		return err
	}
	// With the original registers, syscall number included, detaching lets
	// the kernel restart what we interrupted.
	t.giveBack(l.in.TID, l.back, l.stop)
	if l.entered {
		if serr := step("given-back"); err == nil {
			err = serr
		}
	}
	if l.was != nil && l.stubStays() {
		if _, cerr := l.m.WriteAt(l.was, int64(l.in.Room)); cerr != nil {
			err = fmt.Errorf("clear stub: %w", cerr)
		}
	}
	return err
}

// stubStays says whether the stub is still in the room: its image may have been
// unloaded meanwhile, and what is there now is not ours to write to.
func (l *Loan) stubStays() bool {
	now := make([]byte, StubRoom)
	_, err := l.m.ReadAt(now, int64(l.in.Room))
	return err == nil && IsStub(now)
}

// install writes the calls into the room; the first time, with the way home
// behind them. That stays as it is when other calls take the place of the first:
// the thread stands right at its beginning then. It returns where in the room
// the calls start.
func (l *Loan) install(calls []Call, step func(string) error) (start uint64, err error) {
	again := l.was != nil
	if again {
		// Another thread may have asked for a filter while this one stood by.
		if err := l.t.passesFilters(l.in); err != nil {
			return 0, fmt.Errorf("thread %d: %w", l.in.TID, err)
		}
	} else {
		if err := step("borrowed"); err != nil {
			return 0, err
		}
		if l.mask, err = l.t.sigMask(l.in.TID); err != nil {
			return 0, l.note(fmt.Errorf("read signal mask: %w", err))
		}
	}
	code, start := stub(l.in.Room, calls, l.in.data, l.mask, userResume(l.back))
	if code == nil {
		return 0, fmt.Errorf("stub for %d calls does not fit %d bytes", len(calls), StubRoom)
	}
	if again {
		if !l.stubStays() {
			return 0, fmt.Errorf("write stub at %#x: %w", l.in.Room, ErrRoom)
		}
		err = l.t.write(l.in.TID, l.m, code[:homeAt], l.in.Room)
	} else {
		was := make([]byte, StubRoom)
		if _, err := l.m.ReadAt(was, int64(l.in.Room)); err != nil {
			return 0, err
		}
		if IsStub(was) {
			clear(was) // a leftover in padding: zero was there before it
		}
		if !allZero(was) {
			return 0, fmt.Errorf("write stub at %#x: %w", l.in.Room, ErrRoom)
		}
		l.was = was
		if err = l.t.write(l.in.TID, l.m, code, l.in.Room); err == nil {
			err = l.t.sees(l.in.TID, l.in.Room, code)
		}
	}
	if err == nil {
		err = step("stub-written")
	}
	if err != nil {
		return 0, fmt.Errorf("write stub: %w", err)
	}
	return start, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// sees makes sure that the memory written to is the one that the thread runs in.
// It is another one when the process has started another program since m was
// opened and somebody, such as a child cloned with CLONE_VM, keeps the old one.
// The thread stands still and can start no program now. The two ends of the stub
// are proof enough: there is none in a program that has just started.
func (t *Tracer) sees(tid int, at uint64, code []byte) error {
	for _, i := range []int{homeAt, len(code) - wordSize} {
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
	if s, err := stateOf(in.TID); err != nil {
		return Regs{}, Stop{}, err
	} else if s == 'D' { // it would not stop, and we could not hide that it had to
		return Regs{}, Stop{}, fmt.Errorf("thread %d is in uninterruptible sleep: %w", in.TID, ErrBorrow)
	}
	nobody := func() ([]int, error) { return nil, nil }
	bounded := t.buryMeanwhile(nobody)
	err := t.seize(in.TID, unix.PTRACE_O_TRACESYSGOOD)
	bounded()
	if errors.Is(err, ErrStarting) {
		return Regs{}, Stop{}, fmt.Errorf("thread %d: %w: %w", in.TID, err, ErrBorrow)
	}
	if err != nil {
		if _, dead := t.tracedByUs(in.TID); dead {
			err = ErrGone // the kernel says "not permitted" of the dying too
		}
		return Regs{}, Stop{}, fmt.Errorf("seize thread %d: %w", in.TID, err)
	}
	if err := t.interrupt(in.TID); err != nil {
		t.abandoned = true
		return Regs{}, Stop{}, fmt.Errorf("interrupt thread %d: %w", in.TID, err)
	}
	s, err := t.wait(in.TID, time.Now().Add(20*time.Millisecond))
	if errors.Is(err, ErrTimeout) && isReady(in.TID) {
		// It cannot be let go before it stands, so it is as well waited for.
		s, err = t.waitFor(in.TID, polls, time.Millisecond, time.Now().Add(lateStarved))
	}
	if errors.Is(err, ErrTimeout) {
		t.letGoLate(nil, in.TID)
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
	t.asked = 0
	t.hide(in.TID, &r, &s) // at once: it must hold if we are killed now
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
	if _, err := requestAt(reqGetDispatch, tid, unsafe.Sizeof(dispatch), unsafe.Pointer(&dispatch)); err == nil && dispatch.mode != 0 {
		return fmt.Errorf("its system calls go to a dispatcher of its own (Wine?): %w", ErrBorrow)
	}
	var rseq struct {
		area             uint64
		size, sig, flags uint32
		_                uint32
	}
	inUserCode := int64(r.Orig_rax) < 0
	if inUserCode {
		_, _ = requestAt(reqGetRseq, tid, unsafe.Sizeof(rseq), unsafe.Pointer(&rseq)) // else it stays zero
	}
	if rseq.area != 0 {
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
	return t.passesFilters(in)
}

// passesFilters makes sure that no seccomp filter sees the calls of a stopped
// thread.
func (t *Tracer) passesFilters(in Injection) error {
	tid := in.TID
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
	t.rehide(tid, &r, s)
	if err := t.setRegs(tid, &r); err != nil && !errors.Is(err, ErrGone) {
		t.abandoned = true
	}
}

// waitCall waits for a thread that makes a call for us. One that ran when it was
// borrowed has a processor of its own and stops within some microseconds: to
// sleep meanwhile would keep it longer. The other may need ours, in which case
// to look again before it stands would only keep it from what it does, with the
// mappings of the process locked.
func (t *Tracer) waitCall(tid int, ran bool, deadline time.Time) (Stop, error) {
	looks, sleep := polls, callNap
	if ran {
		looks, sleep = 64, shortNap // of less than a microsecond each
	}
	return t.waitFor(tid, looks, sleep, deadline)
}

// run follows the thread through n system calls of the stub and stops behind
// the last one, or behind the first that fails.
func (l *Loan) run(n int, step func(string) error) (results []uint64, err error) {
	t, tid := l.t, l.in.TID
	deadline := time.Now().Add(2 * time.Second)
	last := deadline.Add(lateStarved)
	var pass unix.Signal
	var begin time.Time
	for entered := false; ; {
		if err := t.resumeToSyscall(tid, pass); err != nil {
			return results, fmt.Errorf("resume thread %d: %w", tid, err)
		}
		pass = 0
		s, err := t.waitCall(tid, l.Ran(), deadline)
		if errors.Is(err, ErrTimeout) && isReady(tid) {
			// It would go home by itself, but what its calls did would not be known.
			s, err = t.waitFor(tid, 0, time.Millisecond, last)
		}
		if err != nil {
			return results, fmt.Errorf("thread %d in its loan: %w", tid, err)
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
		l.inCalls += time.Since(begin)
		r, err := t.regs(tid)
		if err != nil {
			return results, fmt.Errorf("read result of call %d: %w", len(results), err)
		}
		results = append(results, r.Rax)
		failed := r.Rax > ^uint64(4095)
		if l.in.took != nil && !failed {
			l.in.took(len(results)-1, r.Rax)
		}
		if failed || len(results) == n {
			return results, nil
		}
	}
}
