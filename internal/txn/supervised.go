package txn

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// A call that a seccomp filter has handed to a supervisor (SECCOMP_RET_USER_NOTIF)
// is given up when its thread is interrupted, and made anew afterwards; but the
// supervisor has taken it already, and does its work twice. The daemon of a file
// system in user space (FUSE) is told of the interruption; many give the call up,
// which ends with an EINTR that programs expect of no such call. So nobody is
// stopped or borrowed who waits for either. Only the name of the place in the
// kernel where a thread sleeps tells.

// awaits says for whom a thread waits that sleeps in this call: for a supervisor who
// makes it (handedOver), or for a daemon of files (served).
func awaits(pid, tid int, s proc.Syscall) (delicacy, error) {
	if commonWaits[s.Number] {
		return none, nil
	}
	where, err := proc.Place(pid, tid)
	switch is := func(name string) bool { return strings.HasPrefix(where, name) }; {
	case noCallSeen(err):
		return none, nil
	case err != nil:
		return none, err
	case is("seccomp_do_user_notification"):
		return handedOver, nil
	case is("fuse_dev_"): // the daemon itself, which waits for requests
		return none, nil
	case is("request_wait_answer"), is("__fuse_"), is("fuse_"): // the first, or into which it was inlined
		return served, nil
	}
	return none, nil
}

// commonWaits are the calls that most threads sleep in, and that nobody makes for
// another: of these it is not asked. A read is of files, too, but made anew.
var commonWaits = map[int64]bool{
	unix.SYS_FUTEX: true, unix.SYS_FUTEX_WAITV: true, unix.SYS_NANOSLEEP: true, unix.SYS_CLOCK_NANOSLEEP: true,
	unix.SYS_EPOLL_WAIT: true, unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_PWAIT2: true,
	unix.SYS_POLL: true, unix.SYS_PPOLL: true, unix.SYS_SELECT: true, unix.SYS_PSELECT6: true,
	unix.SYS_READ: true, unix.SYS_RECVFROM: true, unix.SYS_RECVMSG: true, unix.SYS_IO_URING_ENTER: true,
	unix.SYS_PAUSE: true, unix.SYS_RT_SIGTIMEDWAIT: true, unix.SYS_RT_SIGSUSPEND: true, unix.SYS_WAIT4: true,
	unix.SYS_WAITID: true, unix.SYS_RESTART_SYSCALL: true,
}

// errAwaits: it has to be tried again later.
func errAwaits(tid int, d delicacy) error {
	if d == served {
		return &busy{reason: fmt.Sprintf("thread %d waits for the daemon of a file system in user space, which may give up what is interrupted", tid)}
	}
	return &busy{reason: fmt.Sprintf("thread %d waits for the supervisor of its seccomp filter, which would do the work of its call twice", tid)}
}
