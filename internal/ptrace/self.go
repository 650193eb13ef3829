package ptrace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// tracedByUs tells, for a thread that could not be seized, whether this very
// tracer has it already and whether it is dead. What cannot be read is neither.
func (t *Tracer) tracedByUs(tid int) (mine, dead bool) {
	b, err := status(strconv.Itoa(tid))
	if err != nil {
		return false, notThere(err)
	}
	state := statusField(b, "State:")
	dead = len(state) > 0 && (state[0] == 'Z' || state[0] == 'X')
	tracer, err := strconv.Atoi(string(statusField(b, "TracerPid:")))
	// The field is called a pid but holds the tracer's thread id.
	return err == nil && tracer == t.tid, dead
}

// status reads /proc/TID/status in as few system calls as there can be: a thread
// may be waiting.
func status(tid string) ([]byte, error) {
	fd, err := unix.Open("/proc/"+tid+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return b, nil
		default:
			if b = b[:len(b)+n]; len(b) == cap(b) { // long lists of groups
				b = append(b, make([]byte, len(b))...)[:len(b)]
			}
		}
	}
}

// notThere says of an error that the thread is gone.
func notThere(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }

func statusField(status []byte, key string) []byte {
	for line := range bytes.SplitSeq(status, []byte("\n")) {
		if v, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return bytes.TrimSpace(v)
		}
	}
	return nil
}

// notToBeAsked says of a thread's status that it cannot stop now, or must not: one that
// writes a core dump into a pipe and is interrupted ends it there.
func notToBeAsked(status []byte) bool {
	s := statusField(status, "State:")
	return len(s) > 0 && (s[0] == 'D' || s[0] == 'Z') || string(statusField(status, "CoreDumping:")) == "1"
}

// stateOf is the letter of a thread's state, 0 when it is gone.
func stateOf(tid int) (byte, error) {
	b, err := status(strconv.Itoa(tid))
	switch s := statusField(b, "State:"); {
	case notThere(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read state of thread %d: %w", tid, err)
	case len(s) == 0:
		return 0, fmt.Errorf("read state of thread %d: there is none", tid)
	default:
		return s[0], nil
	}
}

// seccompMode is that of one thread (0: none); "self" for ourselves. Threads
// of one process may differ.
func seccompMode(tid string) (int, error) {
	b, err := status(tid)
	if err != nil {
		return 0, err
	}
	f := statusField(b, "Seccomp:")
	if f == nil {
		return 0, nil // a kernel without it
	}
	return strconv.Atoi(string(f))
}

// SharesMemory says whether two processes are the same address space, as after
// vfork or clone with CLONE_VM. The kernel must have kcmp(2); without it the
// answer is an error.
func SharesMemory(pid, other int) (bool, error) {
	const kcmpVM = 1
	r, _, e := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(other), kcmpVM, 0, 0, 0)
	switch e {
	case 0:
		return r == 0, nil
	case unix.ESRCH:
		return false, ErrGone
	case unix.EPERM, unix.EACCES:
		return false, ErrDenied
	}
	return false, e
}
