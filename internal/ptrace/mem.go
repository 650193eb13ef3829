package ptrace

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mem reads and writes the memory of a process at run-time addresses. Writing
// goes through page protections: the kernel gives the process a private copy
// of a file-backed page first.
type Mem struct{ f *os.File }

// OpenMem opens the memory of the process that has thread tid.
func OpenMem(tid int) (*Mem, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", tid), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("open memory: %w", ErrDenied)
	}
	if err != nil {
		return nil, fmt.Errorf("open memory: %w", err)
	}
	return &Mem{f}, nil
}

// Close releases the memory.
func (m *Mem) Close() error { return m.f.Close() }

// ReadAt fills p or fails.
func (m *Mem) ReadAt(p []byte, addr int64) (int, error) {
	return m.all("read", p, addr, unix.Pread)
}

// WriteAt writes all of p or fails. A failure after the first page can have
// written a part: callers write within pages.
func (m *Mem) WriteAt(p []byte, addr int64) (int, error) {
	return m.all("write", p, addr, unix.Pwrite)
}

func (m *Mem) all(verb string, p []byte, addr int64, do func(int, []byte, int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		n, err := do(int(m.f.Fd()), p[done:], addr+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("%s %d bytes at %#x: %w", verb, len(p), uint64(addr), err)
		}
		if n == 0 {
			return done, fmt.Errorf("%s %d bytes at %#x: %w", verb, len(p), uint64(addr), ErrGone)
		}
		done += n
	}
	return done, nil
}
