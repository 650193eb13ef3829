// Package ptrace is the only door to ptrace(2) and to writing another
// process's memory. It stops threads, lets one of them make system calls that
// survive our own death, and lets go again. It does not decide whether any of
// that is safe: that is txn.
//
// Every ptrace request must come from the OS thread that seized the tracee, so
// everything here hangs off a Tracer, which exists only inside Run.
//
// Three rules keep the target alive when we are killed at any instant:
// never single-step, never set hardware breakpoints (tracer death in such a
// stop is a SIGTRAP for the target); never leave a thread with registers that
// do not lead back to its own work (see Inject).
//
// ptrace(2); kernel/ptrace.c and kernel/signal.c of Linux 6.1.
package ptrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hotpatch/internal/seccomp"
)

var (
	// ErrGone: the thread or process ended.
	ErrGone = errors.New("thread is gone")
	// ErrReplaced: the thread runs in other memory than ours to write, because its
	// process has started another program.
	ErrReplaced = errors.New("the process runs another program now")
	// ErrTimeout: a thread did not stop in time (vfork, uninterruptible sleep).
	ErrTimeout = errors.New("thread did not stop in time")
	// ErrStarved: a thread did not get a processor in time, on which to stop.
	ErrStarved = errors.New("thread gets no processor to stop on")
	// ErrDenied: the kernel refuses to let us trace the thread.
	ErrDenied = errors.New("tracing not permitted")
)

// Requests and options that x/sys/unix does not name.
const (
	reqGetSigMask = 0x420a
	reqSetSigMask = 0x420b
	reqGetFilter  = 0x420c // PTRACE_SECCOMP_GET_FILTER

	optSuspendSeccomp = 1 << 21
)

// mostUrgent is the nice value of a tracer while it holds up a process.
const mostUrgent = -20

// Tracer is one OS thread that may trace. It is valid only inside Run and must
// not be used from another goroutine.
type Tracer struct {
	tid       int
	abandoned bool // a tracee could not be detached: the thread's end must do it

	seizes atomic.Uint32 // begun and ended: odd while one is under way
	mu     sync.Mutex
	mine   []int // threads of a Group, for buryMeanwhile

	program *[seccomp.MaxSize]byte // see filter
	asked   int                    // what has been read of filters, see readAll
}

// Run calls fn on an OS thread of its own and ends that thread afterwards. The
// kernel then lets go of every tracee that fn could not detach, for instance
// one that never stopped.
func Run(fn func(*Tracer) error) error {
	var l Loans
	defer l.Close()
	return l.Run(fn)
}

// Loans runs several functions on one OS thread, which is ended by Close: to
// start one takes longer than a loan. They may borrow threads (Inject), and not
// stop groups: after those the thread has to end, because a thread that is
// cloned in the last moment stays attached to it. The zero value is ready; not
// for concurrent use.
type Loans struct {
	work chan func(*Tracer) error // nil: there is no thread
	done chan result
}

type result struct {
	t   *Tracer
	err error
}

// Begin starts the thread, ahead of the first Run: that takes as long as a loan
// does, and the caller may have something else to do meanwhile.
func (l *Loans) Begin() {
	if l.work == nil {
		l.work, l.done = make(chan func(*Tracer) error), make(chan result)
		go serve(l.work, l.done)
	}
}

// Run calls fn on the thread.
func (l *Loans) Run(fn func(*Tracer) error) error {
	l.Begin()
	l.work <- fn
	r := <-l.done
	if r.t.abandoned {
		l.Close()
		awaitThreadEnd(r.t.tid)
	}
	return r.err
}

// Close ends the thread.
func (l *Loans) Close() {
	if l.work != nil {
		close(l.work)
		l.work = nil
	}
}

func serve(work <-chan func(*Tracer) error, done chan<- result) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	t := &Tracer{tid: unix.Gettid()}
	if t.tid == os.Getpid() {
		// The runtime never ends the main thread, so it must not trace. While we
		// hold it locked, another goroutine gets another thread.
		begun := make(chan struct{})
		go func() {
			close(begun)
			serve(work, done)
		}()
		<-begun
		runtime.UnlockOSThread()
		return
	}
	unblockGiveUp()
	// Others wait while we work. Only those may who have the privilege; the
	// thread ends with us, and its priority with it.
	_ = unix.Setpriority(unix.PRIO_PROCESS, t.tid, mostUrgent)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else each nap takes 50 µs more
	for fn := range work {
		done <- result{t, fn(t)}
	}
}

// awaitThreadEnd waits until the kernel has let go of what a tracer thread
// still traced, so that the next attempt does not find its own predecessor.
func awaitThreadEnd(tid int) {
	path := fmt.Sprintf("/proc/self/task/%d", tid)
	for range 200 {
		if _, err := os.Stat(path); err != nil {
			return
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// request is the raw system call. It is not announced to the Go scheduler: every
// request returns at once, but seize and those for memory (peek, poke; see Mem.all).
func request(req, tid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	return requestError(e)
}

// requestAt is request for what the kernel reads or writes at p, and where what it
// returns says something. p stays a pointer until the call: as a number it would lead
// to where it led before, should the stack that this is on grow on the way, and move.
func requestAt(req, tid int, addr uintptr, p unsafe.Pointer) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, uintptr(p), 0, 0)
	return int(n), requestError(e)
}

func requestError(e unix.Errno) error {
	switch e {
	case 0:
		return nil
	case unix.ESRCH:
		return ErrGone
	case unix.EPERM:
		return ErrDenied
	}
	return e
}

// interrupt asks a seized thread to stop; wait for it with wait.
func (t *Tracer) interrupt(tid int) error {
	return request(unix.PTRACE_INTERRUPT, tid, 0, 0)
}

// resume lets a stopped thread run to its next system call or its exit from one.
func (t *Tracer) resumeToSyscall(tid int, sig unix.Signal) error {
	return request(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig))
}

// detach lets a stopped thread go, delivering sig (0: none). Where the thread
// was interrupted in a system call, the kernel now restarts it.
func (t *Tracer) detach(tid int, sig unix.Signal) error {
	return request(unix.PTRACE_DETACH, tid, 0, uintptr(sig))
}

// have notes a thread that we trace.
func (t *Tracer) have(tid int) {
	t.mu.Lock()
	t.mine = append(t.mine, tid)
	t.mu.Unlock()
}

// hasEnded says whether a thread that we trace has ended. It only looks: of a
// tracee waitid tells stops, too, whatever it is asked for.
func hasEnded(tid int) bool {
	var info unix.Siginfo
	const options = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
	_, _, e := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&info)), options, 0, 0)
	const exited, killed, dumped = 1, 2, 3 // CLD_EXITED and so on
	return e == 0 && info.Signo != 0 && (info.Code == exited || info.Code == killed || info.Code == dumped)
}

const wordSize = 8

// word reads from the memory that a stopped thread runs in, whatever that is by
// now, unlike Mem.
func (t *Tracer) word(tid int, at uint64) (b [wordSize]byte, err error) {
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKDATA, uintptr(tid), uintptr(at), uintptr(unsafe.Pointer(&b)), 0, 0)
	return b, requestError(e)
}

// poke writes to it.
func (t *Tracer) poke(tid int, at uint64, b [wordSize]byte) error {
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_POKEDATA, uintptr(tid), uintptr(at), uintptr(binary.NativeEndian.Uint64(b[:])), 0, 0)
	return requestError(e)
}

// eventMessage is what a thread that stands in Event has started: the id of a
// thread or a process.
func (t *Tracer) eventMessage(tid int) (int, error) {
	var id uint64
	_, err := requestAt(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&id))
	return int(id), err
}

// Regs are the general registers of a stopped thread.
type Regs = unix.PtraceRegs

func (t *Tracer) regs(tid int) (Regs, error) {
	var r Regs
	_, err := requestAt(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(&r))
	return r, err
}

func (t *Tracer) setRegs(tid int, r *Regs) error {
	_, err := requestAt(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(r))
	return err
}

func (t *Tracer) sigMask(tid int) (uint64, error) {
	var m uint64
	_, err := requestAt(reqGetSigMask, tid, 8, unsafe.Pointer(&m))
	return m, err
}

func (t *Tracer) setSigMask(tid int, m uint64) error {
	_, err := requestAt(reqSetSigMask, tid, 8, unsafe.Pointer(&m))
	return err
}
