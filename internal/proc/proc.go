// Package proc reads /proc: mappings, build-ids, threads, identities. It only
// reads, never stops or changes a process, and every failed read is an error.
//
// proc(5), Documentation/filesystems/proc.rst.
package proc

import (
	"errors"
	"io"
)

var errTODO = errors.New("not built yet")

// Map is one line of /proc/PID/maps.
type Map struct {
	Start, End, Off           uint64
	Read, Write, Exec, Shared bool
	Dev                       string
	Inode                     uint64
	Path                      string // "" for anonymous; "[heap]", "[vdso]", "... (deleted)"
}

// Maps lists the mappings of a process; pid may be a thread id (the leader of a
// process can be a zombie while its threads run).
func Maps(pid int) ([]Map, error) { return nil, errTODO }

// Threads lists the thread ids of a process.
func Threads(pid int) ([]int, error) { return nil, errTODO }

// Info is what identifies a process and what limits patching it.
type Info struct {
	PID       int
	Comm      string
	State     byte   // of the leader, as in stat: R S D T t Z X
	Start     uint64 // start time in clock ticks since boot: with PID the identity
	UID       int
	PPID      int
	TracerPID int
	Seccomp   int  // 0 none, 1 strict, 2 filter
	Kernel    bool // kernel thread
	Live      int  // a thread id that is not a zombie, for /proc files
}

// ErrGone says that the process is not there (any more).
var ErrGone = errors.New("no such process")

// Read reads the identity of a process.
func Read(pid int) (Info, error) { return Info{}, errTODO }

// ThreadState is the state letter of one thread.
func ThreadState(pid, tid int) (byte, error) { return 0, errTODO }

// Module is one loaded ELF file of a process.
type Module struct {
	BuildID string // "" when it has none
	Path    string // as in maps
	Bias    uint64 // run-time minus file address
	Maps    []Map  // its mappings, by address
}

// Lo and Hi bound the module's mappings.
func (m Module) Lo() uint64 { return m.Maps[0].Start }
func (m Module) Hi() uint64 { return m.Maps[len(m.Maps)-1].End }

// Modules lists the ELF files a process has mapped, with their build-ids read
// from its memory (so that a deleted or replaced file does not mislead). [vdso] included.
func Modules(pid int) ([]Module, error) { return nil, errTODO }

// Open opens the file behind a module even if it was deleted or lives in
// another mount namespace (through /proc/PID/map_files, else /proc/PID/root
// with the build-id verified).
func Open(pid int, m Module) (io.ReaderAt, int64, io.Closer, error) { return nil, 0, nil, errTODO }

// Mem reads a process's memory at run-time addresses (/proc/TID/mem).
type Mem struct{ f io.ReaderAt }

// OpenMem opens it for reading; tid as in Info.Live.
func OpenMem(tid int) (*Mem, error) { return nil, errTODO }

// ReadAt fails when not all of p could be read.
func (m *Mem) ReadAt(p []byte, addr int64) (int, error) { return 0, errTODO }

// Close releases it.
func (m *Mem) Close() error { return errTODO }

// PIDs lists all processes on the host, in order.
func PIDs() ([]int, error) { return nil, errTODO }

// Mapping finds the processes that map any image with one of these build-ids.
// A process that cannot be examined is returned in denied with the reason,
// never silently left out; one that vanished meanwhile is left out.
func Mapping(buildIDs []string) (found []int, denied map[int]error, err error) {
	return nil, nil, errTODO
}
