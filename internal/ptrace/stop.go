package ptrace

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StopKind says why a thread stands still.
type StopKind uint8

const (
	Interrupted StopKind = iota // our PTRACE_INTERRUPT
	GroupStop                   // it is stopped by job control (SIGSTOP and kin)
	Delivery                    // a signal is about to be delivered: Stop.Signal
	Syscall                     // entry to or exit from a system call
	Event                       // clone, fork, exec or exit notification
)

// Stop is one ptrace stop.
type Stop struct {
	Kind   StopKind
	Signal unix.Signal // Delivery: must be passed on; GroupStop: what stopped it

	// rests: the thread is to go on by restart_syscall, and so many filters let that
	// pass. Others may come while it stands: see rehide.
	rests   bool
	filters int
}

const eventStop = 128 // PTRACE_EVENT_STOP

func decodeStop(ws unix.WaitStatus) Stop {
	sig, event := ws.StopSignal(), int(ws)>>16
	switch {
	case event == eventStop && sig == unix.SIGTRAP:
		return Stop{Kind: Interrupted}
	case event == eventStop:
		return Stop{Kind: GroupStop, Signal: sig}
	case event != 0:
		return Stop{Kind: Event}
	case int(ws)>>8&0xff == int(unix.SIGTRAP)|0x80:
		return Stop{Kind: Syscall}
	}
	return Stop{Kind: Delivery, Signal: sig}
}

// polls is how often we look for a stop before we nap between two looks: the
// first answer usually comes within 30 µs.
const polls = 4

// manyPolls is how often we look for threads that run, all together, before the
// first nap: another processor is where they run, and takes 10 to 20 µs to stop
// them, of which a nap would make 50.
const manyPolls = 64

// nap gives the processor away until a thread stops, which the kernel tells this
// one first (SIGCHLD, for which the Go runtime has a handler), or for a moment
// where that is lost: several signals that nobody has taken yet are one. A
// shorter one would only take the processor back from the thread that is waited
// for. Run sets the timer slack that keeps it from becoming much longer.
func nap(d time.Duration) {
	ts := unix.Timespec{Nsec: int64(d)}
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

const (
	shortNap = 60 * time.Microsecond
	callNap  = 250 * time.Microsecond // where the next thing that happens is the stop
)

// poll says whether a thread has stopped anew, and how. A signal that is about to
// be delivered is only looked at: once a stop has been taken, the kernel forgets
// the signal, and it would be lost if we died before we let the thread go.
func (t *Tracer) poll(tid int) (s Stop, there bool, err error) {
	var info unix.Siginfo
	const look = unix.WSTOPPED | unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
	_, _, e := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&info)), look, 0, 0)
	switch {
	case e == unix.ECHILD:
		return Stop{}, false, ErrGone
	case e != 0 && e != unix.EINTR:
		return Stop{}, false, e
	case e != 0 || info.Signo == 0:
		return Stop{}, false, nil
	}
	const trapped = 4 // CLD_TRAPPED; si_status is the third field behind the common ones
	status := *(*int32)(unsafe.Add(unsafe.Pointer(&info), 24))
	if s := decodeStop(unix.WaitStatus(status<<8 | 0x7f)); info.Code == trapped && s.Kind == Delivery {
		return s, true, nil
	}
	var ws int32
	r, _, e := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&ws)), unix.WNOHANG|unix.WALL, 0, 0, 0)
	switch {
	case e == unix.ECHILD:
		return Stop{}, false, ErrGone
	case e != 0 && e != unix.EINTR:
		return Stop{}, false, e
	case e != 0 || int(r) != tid:
		return Stop{}, false, nil
	}
	if s := unix.WaitStatus(ws); s.Exited() || s.Signaled() {
		return Stop{}, false, ErrGone
	}
	return decodeStop(unix.WaitStatus(ws)), true, nil
}

// wait waits for one thread's next stop. It polls: a blocking wait4 cannot be
// bounded.
func (t *Tracer) wait(tid int, deadline time.Time) (Stop, error) {
	return t.waitFor(tid, polls, shortNap, deadline)
}

// waitFor is wait with so many looks before the first nap, and naps of this length.
func (t *Tracer) waitFor(tid, looks int, sleep time.Duration, deadline time.Time) (Stop, error) {
	for i := 1; ; i++ {
		if s, there, err := t.poll(tid); err != nil || there {
			return s, err
		}
		if i > looks {
			nap(sleep)
		}
		if i%8 == 0 && time.Now().After(deadline) {
			return Stop{}, ErrTimeout
		}
	}
}
