package txn

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// A call that a seccomp filter has handed to a supervisor (SECCOMP_RET_USER_NOTIF)
// is given up when its thread is interrupted, and made anew afterwards; but the
// supervisor has taken it already, and does its work twice. So nobody is stopped
// or borrowed who waits for one. Only the name of the place in the kernel where a
// thread sleeps tells.

// supervised says whether a thread that sleeps in this call waits for a supervisor
// to make it.
func supervised(pid, tid int, s proc.Syscall) bool {
	if commonWaits[s.Number] {
		return false
	}
	where, err := proc.Place(pid, tid)
	return err == nil && strings.HasPrefix(where, "seccomp_do_user_notification")
}

// commonWaits are the calls that most threads sleep in, and that nobody makes for
// another: of these it is not asked.
var commonWaits = map[int64]bool{
	unix.SYS_FUTEX: true, unix.SYS_FUTEX_WAITV: true, unix.SYS_NANOSLEEP: true, unix.SYS_CLOCK_NANOSLEEP: true,
	unix.SYS_EPOLL_WAIT: true, unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_PWAIT2: true,
	unix.SYS_POLL: true, unix.SYS_PPOLL: true, unix.SYS_SELECT: true, unix.SYS_PSELECT6: true,
	unix.SYS_READ: true, unix.SYS_RECVFROM: true, unix.SYS_RECVMSG: true, unix.SYS_IO_URING_ENTER: true,
	unix.SYS_PAUSE: true, unix.SYS_RT_SIGTIMEDWAIT: true, unix.SYS_RT_SIGSUSPEND: true, unix.SYS_WAIT4: true,
	unix.SYS_WAITID: true, unix.SYS_RESTART_SYSCALL: true,
}

// errSupervised: it has to be tried again later.
func errSupervised(tid int) error {
	return &busy{reason: fmt.Sprintf("thread %d waits for the supervisor of its seccomp filter, which would do the work of its call twice", tid)}
}
