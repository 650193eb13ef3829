package proc

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Mem reads a process's memory at run-time addresses. It stays with the address
// space it was opened on: after exec or the end of the process every read fails.
//
// It is /proc/TID/mem. That file belongs to the process's user, and CAP_SYS_PTRACE
// alone opens it to nobody else; process_vm_readv(2), which asks for that
// capability only, is then the way in.
type Mem struct {
	tid, fd int
	remote  bool // fd is /proc/TID/maps, which has no text once the address space is gone
}

// OpenMem opens it for reading; tid as in Info.Live.
func OpenMem(tid int) (*Mem, error) {
	fd, err := open(path(tid, "mem"), unix.O_RDONLY)
	if err == nil {
		return &Mem{tid: tid, fd: fd}, nil
	}
	if err == unix.EACCES {
		if m, rerr := openRemote(tid); rerr == nil {
			return m, nil
		}
	}
	return nil, explain("open memory", tid, err)
}

// openRemote opens the memory of a process of somebody else's. It finds out at
// once whether reading is permitted, and that is asked with every read again.
func openRemote(tid int) (*Mem, error) {
	fd, err := open(path(tid, "maps"), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	m := &Mem{tid: tid, fd: fd, remote: true}
	// The kernel asks whether it is permitted before it looks for the address.
	var b [1]byte
	if n, err := m.read(b[:], 0); n != 1 && err != unix.EFAULT {
		m.Close()
		return nil, cmp.Or[error](err, ErrGone)
	}
	return m, nil
}

// ReadAt fails when not all of p could be read; n is how much could.
func (m *Mem) ReadAt(p []byte, addr int64) (int, error) {
	for n := 0; ; {
		if n == len(p) {
			return n, nil
		}
		got, err := m.read(p[n:], addr+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			if errors.Is(err, unix.ESRCH) {
				err = ErrGone
			}
			return n, fmt.Errorf("read memory of %d: %d bytes at %#x: %w", m.tid, len(p)-n, uint64(addr)+uint64(n), err)
		case got == 0:
			// The address space is gone.
			return n, fmt.Errorf("read memory of %d at %#x: %w (%w)", m.tid, uint64(addr)+uint64(n), ErrGone, io.ErrUnexpectedEOF)
		default:
			n += got
		}
	}
}

// read reads what it can of p. 0: the address space is gone.
func (m *Mem) read(p []byte, addr int64) (int, error) {
	if !m.remote {
		return unix.Pread(m.fd, p, addr)
	}
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	n, err := unix.ProcessVMReadv(m.tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(p)}}, 0)
	// What was read may be another program's already: one that has been started
	// since stays, so looking afterwards is enough.
	var first [1]byte
	if alive, merr := unix.Pread(m.fd, first[:], 0); merr == nil && alive == 0 {
		return 0, nil
	}
	return n, err
}

// Close releases it.
func (m *Mem) Close() error { return unix.Close(m.fd) }
