package proc

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Mem reads a process's memory at run-time addresses (/proc/TID/mem). It stays
// with the address space it was opened on: after exec or the end of the
// process every read fails.
type Mem struct{ tid, fd int }

// OpenMem opens it for reading; tid as in Info.Live.
func OpenMem(tid int) (*Mem, error) {
	fd, err := open(path(tid, "mem"), unix.O_RDONLY)
	if err != nil {
		return nil, explain("open memory", tid, err)
	}
	return &Mem{tid, fd}, nil
}

// ReadAt fails when not all of p could be read; n is how much could.
func (m *Mem) ReadAt(p []byte, addr int64) (int, error) {
	for n := 0; ; {
		if n == len(p) {
			return n, nil
		}
		got, err := unix.Pread(m.fd, p[n:], addr+int64(n))
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

// Close releases it.
func (m *Mem) Close() error { return unix.Close(m.fd) }
