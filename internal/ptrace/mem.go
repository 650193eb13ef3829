package ptrace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mem reads and writes the memory of a process at run-time addresses. Writing
// goes through page protections: the kernel gives the process a private copy
// of a file-backed page first.
type Mem struct {
	f    *os.File // nil: see ReadOnly
	read Reader
}

// Reader reads a process's memory in a way that writing has no counterpart of.
type Reader interface {
	io.ReaderAt
	io.Closer
}

// ErrReadOnly: the memory file of the process has not been opened yet.
var ErrReadOnly = errors.New("the memory can only be read as yet")

// ReadOnly is the memory of a process whose file the kernel does not open to us.
// It takes r with it. Adopt makes it one to write.
func ReadOnly(r Reader) *Mem { return &Mem{read: r} }

// Writable says whether it can be written.
func (m *Mem) Writable() bool { return m.f != nil }

// OpenMem opens the memory of the process that has thread tid.
func OpenMem(tid int) (*Mem, error) {
	f, err := openMem(tid)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("open memory: %w", ErrDenied)
	}
	if err != nil {
		return nil, fmt.Errorf("open memory: %w", err)
	}
	return &Mem{f: f}, nil
}

// openMem spares the runtime's poller, which is of no use for such a file, and costs
// five more system calls.
func openMem(tid int) (*os.File, error) {
	name := "/proc/" + strconv.Itoa(tid) + "/mem"
	for {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR:
		default:
			return nil, err
		}
	}
}

// Close releases the memory.
func (m *Mem) Close() error {
	if m.f == nil {
		return m.read.Close()
	}
	return m.f.Close()
}

// ReadAt fills p or fails.
func (m *Mem) ReadAt(p []byte, addr int64) (int, error) {
	if m.f == nil {
		return m.read.ReadAt(p, addr)
	}
	return m.all("read", p, addr, unix.SYS_PREAD64)
}

// WriteAt writes all of p or fails. A failure after the first page can have
// written a part: callers write within pages.
func (m *Mem) WriteAt(p []byte, addr int64) (int, error) {
	if m.f == nil {
		return 0, fmt.Errorf("write %d bytes at %#x: %w", len(p), uint64(addr), ErrReadOnly)
	}
	return m.all("write", p, addr, unix.SYS_PWRITE64)
}

// all transfers everything. The system call is announced to the Go scheduler: a page
// may be of a file that does not come (FUSE, a network's), and a thread that the
// runtime does not know to be waiting would hold up all others, with what they have
// stopped. In one that is quick our turn is not taken.
func (m *Mem) all(verb string, p []byte, addr int64, call uintptr) (int, error) {
	done := 0
	for done < len(p) {
		n, _, e := unix.Syscall6(call, m.f.Fd(), uintptr(unsafe.Pointer(&p[done])), uintptr(len(p)-done), uintptr(addr)+uintptr(done), 0, 0)
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
