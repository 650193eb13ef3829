package ptrace

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotLent: the process could not open its own memory for us.
var ErrNotLent = errors.New("the process has to open its memory for hotpatch itself and cannot")

// Adopt makes m, which is ReadOnly, one that can be written. It borrows the
// thread of in for it to open the memory file of its own process, takes a
// duplicate of that (pidfd_getfd(2)), and has the thread close its own. So it
// works where CAP_SYS_PTRACE lets us trace a process, and the permissions of the
// file, which only CAP_DAC_OVERRIDE passes over, do not let us open it. The stub
// is written by PTRACE_POKEDATA. If we are killed meanwhile, the stub still
// closes the file.
//
// in.Calls is not looked at.
func (t *Tracer) Adopt(m *Mem, pid int, in Injection) error {
	if m.Writable() {
		return nil
	}
	const path, canary = "/proc/self/mem\x00", "\x00"
	in.data = []byte(path + canary)
	at := dataAt(in.Room, in.data)
	cwd := int64(unix.AT_FDCWD)
	in.Calls = []Call{
		{NR: unix.SYS_OPENAT, Args: [6]uint64{uint64(cwd), at, unix.O_RDWR | unix.O_CLOEXEC}},
		{NR: unix.SYS_CLOSE, OfLast: true},
	}
	var refused error
	in.took = func(call int, fd uint64) {
		if call != 0 {
			return
		}
		f, err := duplicate(pid, in.TID, int(fd))
		if err == nil {
			if err = t.proves(in, f, at+uint64(len(path))); err != nil {
				f.Close()
			}
		}
		if err != nil {
			refused = fmt.Errorf("%w: %w", ErrNotLent, err)
			return
		}
		_ = m.read.Close() // nothing is buffered
		m.f, m.read = f, nil
	}
	got, err := t.Inject(m, in)
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case len(got) == 1:
		return fmt.Errorf("%w: open /proc/self/mem: %w", ErrNotLent, unix.Errno(-int64(got[0])))
	}
	return nil
}

// duplicate is the file that a thread has as fd. Before Linux 6.9 there is no
// asking for a thread, but for the first of its process.
func duplicate(pid, tid, fd int) (*os.File, error) {
	const pidfdThread = unix.O_EXCL
	p, err := unix.PidfdOpen(tid, pidfdThread)
	if errors.Is(err, unix.EINVAL) {
		p, err = unix.PidfdOpen(pid, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open process: %w", err)
	}
	defer unix.Close(p)
	ours, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate its file %d: %w", fd, err)
	}
	return os.NewFile(uintptr(ours), "memory"), nil
}

// proves makes sure that f is the memory in which the thread stands: threads can
// have files of their own, and /proc can be anything in the eyes of the process.
// What is written is a byte of the stub that has no other use, and only when all
// of the stub could be read through f.
func (t *Tracer) proves(in Injection, f *os.File, canary uint64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("look at its file: %w", err)
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return fmt.Errorf("look at its file: %w", err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || !strings.HasSuffix(name, "/mem") {
		return fmt.Errorf("what it opened is %s", name)
	}
	var through [StubRoom]byte
	if _, err := f.ReadAt(through[:], int64(in.Room)); err != nil {
		return err
	}
	for i := 0; i < StubRoom; i += wordSize {
		now, err := t.word(in.TID, in.Room+uint64(i))
		if err != nil {
			return err
		}
		if now != [wordSize]byte(through[i:i+wordSize]) {
			return ErrReplaced
		}
	}
	if _, err := f.WriteAt([]byte{1}, int64(canary)); err != nil {
		return fmt.Errorf("write through its file: %w", err)
	}
	word := canary &^ (wordSize - 1)
	now, err := t.word(in.TID, word)
	if err != nil {
		return err
	}
	if now[canary-word] != 1 {
		return ErrReplaced
	}
	return nil
}

// write writes p, whole words at a word, to the memory of a thread that stands
// still: where there is no file to write through, a word at a time.
func (t *Tracer) write(tid int, m *Mem, p []byte, at uint64) error {
	if m.Writable() {
		_, err := m.WriteAt(p, int64(at))
		return err
	}
	for i := 0; i < len(p); i += wordSize {
		if err := t.poke(tid, at+uint64(i), [wordSize]byte(p[i:i+wordSize])); err != nil {
			return fmt.Errorf("write a word at %#x: %w", at+uint64(i), err)
		}
	}
	return nil
}
