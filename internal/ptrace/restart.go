package ptrace

import "golang.org/x/sys/unix"

// How a thread goes on with the system call that our stop has interrupted.

// Errors a system call leaves in rax for the kernel's own use (linux/errno.h).
const (
	errIntr                = ^uint64(4) + 1   // -EINTR
	errRestartSys          = ^uint64(512) + 1 // restart, unless a handler without SA_RESTART runs
	errRestartNoIntr       = ^uint64(513) + 1 // restart always
	errRestartNoHand       = ^uint64(514) + 1 // restart, unless a handler runs
	errRestartRestartBlock = ^uint64(516) + 1 // restart through restart_syscall(2)

	nrRestartSyscall = 219
	noSyscall        = ^uint64(0)
)

// endsWithEINTR are the system calls that any stop of the thread makes return
// EINTR, because they are not written to be restarted: epoll_wait and kin,
// sigtimedwait, semop, asynchronous I/O, socket calls with a time-out, and those
// whose own time-out the kernel could not write back (poll_select_finish).
var endsWithEINTR = map[uint64]bool{
	unix.SYS_EPOLL_WAIT: true, unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_PWAIT2: true,
	unix.SYS_RT_SIGTIMEDWAIT: true, unix.SYS_SEMOP: true, unix.SYS_SEMTIMEDOP: true,
	unix.SYS_IO_GETEVENTS: true, unix.SYS_IO_PGETEVENTS: true,
	unix.SYS_READ: true, unix.SYS_READV: true, unix.SYS_WRITE: true, unix.SYS_WRITEV: true,
	unix.SYS_PREADV2: true, unix.SYS_PWRITEV2: true,
	unix.SYS_SELECT: true, unix.SYS_PSELECT6: true, unix.SYS_PPOLL: true,
	unix.SYS_FALLOCATE: true, // of tmpfs, before Linux 6.2
	unix.SYS_RECVFROM:  true, unix.SYS_RECVMSG: true, unix.SYS_RECVMMSG: true,
	unix.SYS_SENDTO: true, unix.SYS_SENDMSG: true, unix.SYS_SENDMMSG: true,
	unix.SYS_ACCEPT: true, unix.SYS_ACCEPT4: true, unix.SYS_CONNECT: true,
	unix.SYS_IO_URING_ENTER: true, unix.SYS_SENDFILE: true, unix.SYS_SPLICE: true,
}

// interrupted says whether the call with these registers ended with EINTR for no
// other reason than a stop, and can be made anew.
func interrupted(r *Regs) bool {
	return r.Rax == errIntr && (endsWithEINTR[r.Orig_rax] || r.Orig_rax == unix.SYS_IOCTL && onlyWaits(uint32(r.Rsi), r.Rdx))
}

// onlyWaits says whether an ioctl that ended with EINTR has only waited: what
// others have done by then, nobody can tell.
func onlyWaits(request uint32, arg uint64) bool {
	const (
		vtWaitActive, vtWaitEvent = 0x5607, 0x560e
		tcsbrk                    = 0x5409 // with an argument: tcdrain
		usbReapURB, usbReapURB32  = 0x4008550c, 0x4004550c
		kvmRun                    = 0xae80 // runs on where it was
		seccompReceive            = 0xc0502100
	)
	switch request {
	case vtWaitActive, vtWaitEvent, usbReapURB, usbReapURB32, kvmRun, seccompReceive:
		return true
	case tcsbrk:
		return arg != 0
	}
	return false
}

// hideStop makes our stop invisible to a thread that it woke from a system
// call with EINTR: it turns that into ERESTARTNOHAND, on which the kernel
// itself decides, when the thread goes on, between EINTR (a handler runs) and
// a restart (none does). So no signal that arrives meanwhile is missed. Of a call
// that the kernel is to go on with by restart_syscall, see goOn; only then is asked
// what the thread's filters say.
//
// It reports whether r changed.
func hideStop(r *Regs, s Stop, filters func() answer) bool {
	inSignalCode := s.Kind == Interrupted || s.Kind == GroupStop || s.Kind == Delivery
	was := r.Rax
	switch {
	case !inSignalCode || int64(r.Orig_rax) < 0:
	case interrupted(r):
		r.Rax = errRestartNoHand
	case r.Rax == errRestartRestartBlock:
		goOn(r, filters())
	}
	return r.Rax != was
}

// goOn decides how a thread goes on with a call that the kernel would go on with by
// another one, restart_syscall, where a seccomp filter may not let that pass, and
// kill. Where all do, nothing changes: the sleep ends when it would have.
//
// Else, or where that cannot be told, the call is made anew, its time with it. Of a
// thread that was gone on with like that before nobody can tell what it called first.
// A filter that lets it not pass has come since then, and there is no way on that
// keeps the sleep: to be killed, a signal, and an error that a sleep never ends with
// are all worse than the EINTR that each of these calls may end with. Where it cannot
// be told what the filters say, it has got past them as far as anybody knows, or past
// their supervisor.
func goOn(r *Regs, says answer) {
	switch before := r.Orig_rax == nrRestartSyscall; {
	case says == passes, before && says == unknown:
	case before:
		r.Rax = errIntr
	default:
		r.Rax = errRestartNoHand
	}
}

// hide makes the stop of a thread with these registers invisible to it, in the
// thread, and notes in r and s what it did. Where that fails it is dying.
func (t *Tracer) hide(tid int, r *Regs, s *Stop) {
	changed := hideStop(r, *s, func() (says answer) {
		says, s.filters = t.filters(tid, r, 0)
		s.rests = says == passes
		return says
	})
	if changed {
		_ = t.setRegs(tid, r)
	}
}

// rehide is the second half of hide, when the thread is let go. A thread that ran on
// meanwhile may have asked for a filter for all threads of its process
// (SECCOMP_FILTER_FLAG_TSYNC). One that cannot be told has not let this thread pass
// yet. came: there is one, and all threads have it.
func (t *Tracer) rehide(tid int, r *Regs, s Stop) (came bool) {
	if !s.rests {
		return false
	}
	says, count := t.filters(tid, r, s.filters)
	if says != passes {
		goOn(r, fails)
		_ = t.setRegs(tid, r)
	}
	return says != passes || count > s.filters
}

// userResume are the registers with which the thread can go on from user mode
// alone, without the kernel's restart logic: what the stub of Inject leads back to
// when we are gone. An interrupted system call is issued again.
func userResume(r Regs) Regs {
	if int64(r.Orig_rax) >= 0 {
		switch r.Rax {
		case errRestartSys, errRestartNoIntr, errRestartNoHand:
			r.Rip -= 2 // the length of the syscall instruction
			r.Rax = r.Orig_rax
		case errRestartRestartBlock:
			r.Rip -= 2
			r.Rax = nrRestartSyscall
		case errIntr:
			if interrupted(&r) {
				r.Rip -= 2
				r.Rax = r.Orig_rax
			}
		}
	}
	r.Orig_rax = noSyscall
	return r
}
