package proc

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// procmapQuery is struct procmap_query of linux/fs.h (Linux 6.11).
type procmapQuery struct {
	size, flags, addr                             uint64
	start, end, vmaFlags, pageSize, offset, inode uint64
	major, minor, nameSize, buildIDSize           uint32
	nameAddr, buildIDAddr                         uint64
}

const (
	procmapIoctl = 0xc0686611 // _IOWR('f', 17, struct procmap_query)

	vmaReadable   = 0x01 // PROCMAP_QUERY_VMA_*
	vmaWritable   = 0x02
	vmaExecutable = 0x04
	vmaShared     = 0x08
	orNext        = 0x10 // PROCMAP_QUERY_COVERING_OR_NEXT_VMA
	fileBacked    = 0x20 // PROCMAP_QUERY_FILE_BACKED_VMA
)

// question holds a query and the memory its answer points to, on the heap,
// where it does not move.
type question struct {
	q    procmapQuery
	name [unix.PathMax]byte
}

// asking lends questions and remembers that the kernel cannot be asked.
type asking struct {
	pool   sync.Pool
	denied atomic.Bool
}

var procmap = sync.OnceValue(func() *asking {
	return &asking{pool: sync.Pool{New: func() any { return new(question) }}}
})

// errNoQuery says that maps has to be read instead.
var errNoQuery = errors.New("the kernel cannot be asked for single mappings")

// CodeMaps lists the executable mappings of files alone, by address: what Maps
// gives of them, at a fraction of its cost where the kernel can be asked for
// single mappings (Linux 6.11). pid may be a thread id; the list is empty for
// what has no memory.
func CodeMaps(pid int) ([]Map, error) {
	a := procmap()
	if !a.denied.Load() {
		ms, err := a.codeMaps(pid)
		switch {
		case err == nil:
			return ms, nil
		case errors.Is(err, unix.ENOTTY):
			a.denied.Store(true)
		}
		// The long way says best what is wrong, and finds a live thread.
	}
	all, err := Maps(pid)
	if err != nil {
		return nil, err
	}
	var out []Map
	for _, m := range all {
		if m.Exec && m.Inode != 0 {
			out = append(out, m)
		}
	}
	return out, nil
}

// MapAt is the mapping that holds addr: what Find says of Maps, without a list of
// all of them where the kernel can be asked (Linux 6.11). pid may be a thread id.
func MapAt(pid int, addr uint64) (m Map, ok bool, err error) {
	a := procmap()
	if !a.denied.Load() {
		m, err := a.mapAt(pid, addr)
		switch {
		case err == nil:
			return m, true, nil
		case errors.Is(err, unix.ENOTTY):
			a.denied.Store(true)
		}
		// ENOENT may also come from a leader that has given up its memory.
	}
	all, err := Maps(pid)
	if err != nil {
		return Map{}, false, err
	}
	m, ok = Find(all, addr)
	return m, ok, nil
}

func (a *asking) mapAt(pid int, addr uint64) (Map, error) {
	fd, err := open(path(pid, "maps"), unix.O_RDONLY)
	if err != nil {
		return Map{}, err
	}
	defer unix.Close(fd)
	x := a.pool.Get().(*question)
	defer a.pool.Put(x)
	return x.ask(fd, addr, 0, true)
}

func (a *asking) codeMaps(pid int) ([]Map, error) {
	fd, err := open(path(pid, "maps"), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	x := a.pool.Get().(*question)
	defer a.pool.Put(x)
	out := make([]Map, 0, 16)
	for addr := uint64(0); ; {
		m, err := x.ask(fd, addr, vmaExecutable|orNext|fileBacked, true)
		if err == unix.ENOENT {
			if len(out) == 0 {
				return nil, errNoQuery // rather ask twice than miss a program
			}
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if m.End <= addr {
			return nil, fmt.Errorf("mapping at %#x does not come after %#x", m.Start, addr)
		}
		addr = m.End
		if m.Inode != 0 {
			out = append(out, m)
		}
	}
}

// namelessCode is NamelessCode where the kernel can be asked for single
// mappings. An error says that maps has to be read instead.
func (a *asking) namelessCode(pid int) (ms []Map, err error) {
	fd, err := open(path(pid, "maps"), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	x := a.pool.Get().(*question)
	defer a.pool.Put(x)
	any := false
	for addr := uint64(0); ; {
		// Names of files are what costs most, and tell nothing here.
		m, err := x.ask(fd, addr, vmaReadable|vmaExecutable|orNext, false)
		if err == unix.ENOENT && any {
			return ms, nil
		}
		if err != nil {
			return nil, err
		}
		if m.End <= addr {
			return nil, fmt.Errorf("mapping at %#x does not come after %#x", m.Start, addr)
		}
		if !m.Write && !m.Shared && m.Inode == 0 && m.Dev == "00:00" {
			named, err := x.ask(fd, m.Start, 0, true)
			if err != nil {
				return nil, err
			}
			if named.Path == "" {
				ms = append(ms, named)
			}
		}
		any, addr = true, m.End
	}
}

// ask is the mapping that holds addr and is as flags demand; with orNext the
// first such one that ends behind addr. named: with its name.
func (x *question) ask(fd int, addr, flags uint64, named bool) (Map, error) {
	x.q = procmapQuery{size: uint64(unsafe.Sizeof(x.q)), flags: flags, addr: addr}
	if named {
		x.q.nameSize, x.q.nameAddr = uint32(len(x.name)), uint64(uintptr(unsafe.Pointer(&x.name)))
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), procmapIoctl, uintptr(unsafe.Pointer(&x.q)))
		runtime.KeepAlive(x)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return Map{}, errno
		}
		break
	}
	n := min(int(x.q.nameSize), len(x.name))
	name := x.name[:n]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	f := x.q.vmaFlags
	return Map{
		Start: x.q.start, End: x.q.end, Off: x.q.offset,
		Read: f&vmaReadable != 0, Write: f&vmaWritable != 0, Exec: f&vmaExecutable != 0, Shared: f&vmaShared != 0,
		Dev: device(x.q.major, x.q.minor), Inode: x.q.inode, Path: string(name),
	}, nil
}

// device is "%02x:%02x", as in maps.
func device(major, minor uint32) string {
	var arr [24]byte
	b := hex2(arr[:0], major)
	return string(hex2(append(b, ':'), minor))
}

func hex2(b []byte, n uint32) []byte {
	if n < 16 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, uint64(n), 16)
}
