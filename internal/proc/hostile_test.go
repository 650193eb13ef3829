package proc_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/testkit"
)

// A process may say of itself what it likes: that it maps another image than it
// does. Of others that map the same file this says nothing.
func TestProcessThatLiesAboutAFileHidesNobodyElse(t *testing.T) {
	lib, exe := library(t), victim(t)
	for range 3 {
		start(t, exe, "disguise", lib) // lower numbers: looked at first
	}
	honest := start(t, exe, "load", lib).Process.Pid
	for range 5 {
		found, _, err := proc.Mapping([]string{testkit.BuildID(t, lib)})
		if err != nil || !slices.Contains(found, honest) {
			t.Fatalf("found %v, not %d: %v", found, honest, err)
		}
	}
}

// What a name leads to is a process's choice: to open a pipe lets its writer go
// on, to open a device may do anything.
func TestOnDiskOpensNothingButRegularFiles(t *testing.T) {
	c := start(t, victim(t))
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	time.Sleep(20 * time.Millisecond)
	var disk proc.Disk
	for _, look := range []func(int, string) (string, error){proc.OnDisk, disk.BuildID} {
		if id, err := look(c.Process.Pid, fifo); id != "" || err != nil {
			t.Errorf("%q, %v", id, err)
		}
	}
	select {
	case err := <-opened:
		t.Fatalf("the pipe was opened: its writer went on (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0) // lets the writer go
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	<-opened
}

// counted counts what is read of it.
type counted struct {
	piece
	n int
}

func (c *counted) ReadAt(b []byte, addr int64) (int, error) {
	c.n += len(b)
	clear(b)
	if off := uint64(addr) - c.addr; off < uint64(len(c.b)) {
		copy(b, c.b[off:])
	}
	return len(b), nil
}

func TestNotesWithoutEndAreNotRead(t *testing.T) {
	le := binary.LittleEndian
	const notes = 500
	b := make([]byte, 64+56*(notes+1))
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], notes+1)
	segment := func(i int, typ uint32, addr, size uint64) {
		p := b[64+56*i:]
		le.PutUint32(p, typ)
		le.PutUint32(p[4:], 5)
		for _, at := range []int{16, 24} {
			le.PutUint64(p[at:], addr)
		}
		for _, at := range []int{32, 40} {
			le.PutUint64(p[at:], size)
		}
	}
	segment(0, 1, 0, 4096)
	for i := range notes {
		segment(i+1, 4, 1<<30, 1<<20)
	}
	mem := &counted{piece: piece{0x10000, b}}
	ms := []proc.Map{{Start: 0x10000, End: 0x20000, Read: true, Exec: true, Dev: "fe:00", Inode: 1, Path: "/x"}}
	if _, err := proc.ModulesIn(ms, mem); err == nil || !strings.Contains(err.Error(), "note segment") {
		t.Errorf("error %v", err)
	}
	if mem.n > 1<<18 {
		t.Errorf("%d bytes were read", mem.n)
	}
}

// What takes as long as there are mappings, for each of them, takes hours.
func TestImagesThatReachOverAllOthersAreNotComparedWithThem(t *testing.T) {
	le := binary.LittleEndian
	const segments = 512
	b := make([]byte, 64+56*segments)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], segments)
	for i := range uint64(segments) {
		p := b[64+56*i:]
		le.PutUint32(p, 1)
		le.PutUint32(p[4:], 5)
		if i > 0 {
			le.PutUint64(p[16:], 1<<39+i<<12)
		}
		le.PutUint64(p[32:], 1)
		le.PutUint64(p[40:], 4096)
	}
	const size = 32 << 10
	every := append(b, make([]byte, size-len(b))...)
	var ms []proc.Map
	for i := range uint64(5000) {
		at := 1<<32 + i*size
		ms = append(ms, proc.Map{Start: at, End: at + size, Read: true, Exec: true, Dev: "fe:00", Inode: 1, Path: "/x"})
	}
	begin := time.Now()
	if _, err := proc.ModulesIn(ms, repeated(every)); err == nil || !strings.Contains(err.Error(), "believed") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// repeated is memory that holds the same again and again.
type repeated []byte

func (r repeated) ReadAt(p []byte, addr int64) (int, error) {
	return copy(p, r[addr%int64(len(r)):]), nil
}

func TestFileInAnotherStateHasAnotherIdentity(t *testing.T) {
	lib, exe := library(t), victim(t)
	c := start(t, exe, "load", lib)
	m := module(t, c.Process.Pid, lib)
	first, err := proc.Identify(c.Process.Pid, m)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Lasting() {
		testkit.Skip(t, "device numbers of temporary files are used again here")
	}
	f, err := proc.OpenFile(c.Process.Pid, m)
	if err != nil || f.ID != first {
		t.Fatalf("%+v, not %+v, %v", f, first, err)
	}
	f.Close()
	other := start(t, exe, "load", lib)
	if same, err := proc.Identify(other.Process.Pid, module(t, other.Process.Pid, lib)); err != nil || same != first {
		t.Errorf("another process maps %+v, not %+v, %v", same, first, err)
	}
	later := time.Now().Add(-time.Hour)
	if err := os.Chtimes(lib, later, later); err != nil {
		t.Fatal(err)
	}
	if now, err := proc.Identify(c.Process.Pid, m); err != nil || now == first {
		t.Errorf("after a change still %+v, %v", now, err)
	}
}

// module is the one of that file.
func module(t *testing.T, pid int, file string) proc.Module {
	t.Helper()
	ms, err := proc.Modules(pid)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ms, func(m proc.Module) bool { return m.Path == file })
	if i < 0 {
		t.Fatalf("%s is not loaded", file)
	}
	return ms[i]
}
