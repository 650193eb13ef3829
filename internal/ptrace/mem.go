package ptrace

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

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
	return m.all("read", p, addr, unix.SYS_PREAD64)
}

// WriteAt writes all of p or fails. A failure after the first page can have
// written a part: callers write within pages.
func (m *Mem) WriteAt(p []byte, addr int64) (int, error) {
	return m.all("write", p, addr, unix.SYS_PWRITE64)
}

// all transfers everything. The system call is not announced to the Go
// scheduler: while a process stands still nothing else may take our turn.
func (m *Mem) all(verb string, p []byte, addr int64, call uintptr) (int, error) {
	done := 0
	for done < len(p) {
		n, _, e := unix.RawSyscall6(call, m.f.Fd(), uintptr(unsafe.Pointer(&p[done])), uintptr(len(p)-done), uintptr(addr)+uintptr(done), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return done, fmt.Errorf("%s %d bytes at %#x: %w", verb, len(p), uint64(addr), e)
		}
		if n == 0 { // the address space is gone: the process ended, or started another program
			return done, fmt.Errorf("%s %d bytes at %#x: %w", verb, len(p), uint64(addr), ErrGone)
		}
		done += int(n)
	}
	return done, nil
}
