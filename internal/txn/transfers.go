package txn

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// A blocking call that moves data and is interrupted when it has moved some says
// how much that was, and does not go on. Programs have to expect less than they
// asked for, and not all do. The kernel does not let us see how much is left, nor
// can the rest be put back. So who is in such a call is stopped last: threads that
// are not are borrowed rather, and a stop waits for a while.

// transferPatience is how long a transaction waits, all in all, for such calls.
const transferPatience = 250 * time.Millisecond

// transfers says whether a thread that sleeps in this call may have moved some data
// of more.
func transfers(s proc.Syscall) bool {
	switch s.Number {
	case unix.SYS_WRITE, unix.SYS_SENDTO:
		return s.Args[2] > 1
	case unix.SYS_WRITEV, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_PWRITEV2,
		unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_VMSPLICE, unix.SYS_TEE, unix.SYS_COPY_FILE_RANGE:
		return true
	case unix.SYS_RECVFROM:
		return s.Args[3]&unix.MSG_WAITALL != 0
	case unix.SYS_RECVMSG:
		return s.Args[2]&unix.MSG_WAITALL != 0
	case unix.SYS_RECVMMSG:
		return s.Args[2] > 1
	}
	return false
}

// inTransfer says whether a thread sleeps in such a call.
func (t *target) inTransfer(tid int) bool {
	s, err := proc.ReadSyscall(t.info.PID, tid)
	return err == nil && !s.Running && transfers(s)
}

// awaitTransfers waits until none of the threads is in such a call, or patience is
// at its end. Nobody is traced yet.
func (r *run) awaitTransfers(tids []int) error {
	if !slices.ContainsFunc(tids, r.inTransfer) {
		return nil
	}
	if err := r.o.step("transfer-seen"); err != nil {
		return err
	}
	patience := min(transferPatience, time.Until(r.deadline)/4) - r.awaited
	begin := time.Now()
	for wait := 100 * time.Microsecond; time.Since(begin) < patience; wait = min(2*wait, 4*time.Millisecond) {
		if r.pause(wait) != nil || !slices.ContainsFunc(tids, r.inTransfer) {
			break
		}
	}
	r.awaited += time.Since(begin)
	return nil
}
