package txn

import (
	"errors"
	"io/fs"
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
	const getEvents = 1 // IORING_ENTER_GETEVENTS
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
	case unix.SYS_IO_URING_ENTER: // it says how many it has handed in, and no word of what it was to wait for
		return s.Args[1] > 0 && s.Args[2] > 0 && s.Args[3]&getEvents != 0
	}
	return false
}

// delicacy is what speaks against the interruption of a thread.
type delicacy uint8

const (
	none         delicacy = iota
	transferring          // its call may return less than it would
	served                // its call may be given up
	handedOver            // its call may be made twice
)

func (t *target) delicacy(tid int) (delicacy, error) {
	s, err := proc.ReadSyscall(t.info.PID, tid)
	switch {
	case noCallSeen(err):
		return none, nil
	case err != nil || s.Running:
		return none, err
	}
	// First who else is at the call: that may also be one that moves data.
	if d, err := awaits(t.info.PID, tid, s); err != nil || d != none {
		return d, err
	}
	if transfers(s) {
		return transferring, nil
	}
	return none, nil
}

// noCallSeen says of an error that a thread is gone, or that what call it is in is not
// for us to see: the kernel shows it to the thread's user, or with CAP_DAC_OVERRIDE.
func noCallSeen(err error) bool {
	return errors.Is(err, proc.ErrGone) || errors.Is(err, fs.ErrPermission)
}

// mostDelicate is the greatest of the delicacies of some threads, and whose it is.
func (t *target) mostDelicate(tids []int) (most delicacy, whose int, err error) {
	for _, tid := range tids {
		d, err := t.delicacy(tid)
		if err != nil {
			return none, 0, err
		}
		if d > most {
			most, whose = d, tid
		}
	}
	return most, whose, nil
}

// awaitDelicate waits until none of the threads is in such a call, or patience is
// at its end. Nobody is traced yet.
func (r *run) awaitDelicate(tids []int) error {
	most, whose, err := r.mostDelicate(tids)
	if err != nil || most == none {
		return err
	}
	if err := r.o.step("transfer-seen"); err != nil {
		return err
	}
	patience := min(transferPatience, time.Until(r.deadline)/4) - r.awaited
	begin := time.Now()
	for wait := 100 * time.Microsecond; most != none && time.Since(begin) < patience; wait = min(2*wait, 4*time.Millisecond) {
		if r.pause(wait) != nil {
			break
		}
		if most, whose, err = r.mostDelicate(tids); err != nil {
			return err
		}
	}
	r.awaited += time.Since(begin)
	if most >= served {
		return errAwaits(whose, most)
	}
	return nil
}
