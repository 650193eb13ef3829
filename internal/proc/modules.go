package proc

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

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

// Code bounds the module's executable mappings.
func (m Module) Code() (lo, hi uint64) {
	for _, p := range m.Maps {
		if p.Exec {
			if hi == 0 {
				lo = p.Start
			}
			hi = p.End
		}
	}
	return lo, hi
}

// Modules lists the ELF files a process has mapped, by address, with their
// build-ids read from its memory (so that a deleted or replaced file does not
// mislead). [vdso] included. A file that is mapped twice (dlmopen) is two
// modules; one that is mapped as data only is none.
// 32-bit files are left out.
func Modules(pid int) ([]Module, error) {
	// A library that is unloaded between two reads cannot be read any more:
	// then it is worth another look.
	var last error
	for range 3 {
		ms, tid, err := liveMaps(pid)
		if err != nil || len(ms) == 0 {
			return nil, err
		}
		mem, err := OpenMem(tid)
		if err != nil {
			return nil, err
		}
		mods, err := ModulesIn(ms, mem)
		mem.Close()
		if err == nil {
			return mods, nil
		}
		last = err
	}
	return nil, fmt.Errorf("read modules of process %d: %w", pid, last)
}

// ModulesIn finds the modules among the mappings, by address, of mem: the memory
// of a process or of a core file at run-time addresses.
func ModulesIn(ms []Map, mem io.ReaderAt) ([]Module, error) {
	return modulesIn(ms, mem, func(Map) bool { return true })
}

// fileID is the file behind a mapping, as far as maps tells.
type fileID struct {
	dev   string
	inode uint64
}

func (m Map) file() fileID { return fileID{m.Dev, m.Inode} }

// pages are for first pages of images, of which nothing is kept.
var pages = sync.OnceValue(func() *sync.Pool { return &sync.Pool{New: func() any { return new([pageSize]byte) }} })

// mostCompared bounds how often a mapping is held against a segment, of all images of
// one process: some ten times a mapping is usual. An image can say that it reaches over
// a terabyte, with hundreds of segments, and be mapped there again and again.
const mostCompared = 1 << 26

// modulesIn looks only at modules whose first mapping is wanted.
func modulesIn(ms []Map, mem io.ReaderAt, wanted func(Map) bool) ([]Module, error) {
	at := func(p []byte, addr uint64) error {
		_, err := mem.ReadAt(p, int64(addr))
		return err
	}
	// A file of which nothing is executable is no module. This spares us
	// reading the data files.
	code := map[fileID]bool{}
	for _, m := range ms {
		if m.Exec {
			code[m.file()] = true
		}
	}
	var out []Module
	lent := pages().Get().(*[pageSize]byte)
	defer pages().Put(lent)
	page := lent[:]
	left := mostCompared
	for i := 0; i < len(ms); {
		m := ms[i]
		n := 1
		if m.Off == 0 && (m.Read || m.Exec) && (m.Inode != 0 || m.Path == "[vdso]") && code[m.file()] && wanted(m) {
			mod, err := moduleAt(ms[i:], page, at, &left)
			if err != nil {
				return nil, fmt.Errorf("%s at %#x: %w", m.Path, m.Start, err)
			}
			if mod != nil {
				out = append(out, *mod)
				// The rest of its mappings can start no module: a second
				// segment may show offset 0 again.
				for i+n < len(ms) && ms[i+n].Start < mod.Hi() {
					n++
				}
			}
		}
		i += n
	}
	return out, nil
}

// moduleAt is the module whose first page is at ms[0], nil when there is none.
// The page is read into the buffer. left is how many comparisons are left.
func moduleAt(ms []Map, page []byte, at func([]byte, uint64) error, left *int) (*Module, error) {
	m := ms[0]
	first := page[:min(m.Size(), pageSize)]
	if err := at(first, m.Start); err != nil {
		return nil, err
	}
	inFirst := within(first, m.Start, at)
	h, ok, err := parseHeader(first, func(p []byte, off uint64) error { return inFirst(p, m.Start+off) })
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, nil
	}
	start, ok := h.start()
	if !ok {
		return nil, nil
	}
	mod := &Module{Path: m.Path, Bias: m.Start - start}
	exec := false
	lo, hi := h.span()
	if hi-lo > maxSpan {
		return nil, nil
	}
	for _, x := range ms {
		// In terms of the difference, since the bias may wrap around.
		if x.Start-m.Start >= hi-start {
			break
		}
		if *left -= len(h.loads); *left < 0 {
			return nil, errors.New("images with so many segments, mapped so often, are not believed")
		}
		if h.covers(x, m, mod.Bias) {
			mod.Maps = append(mod.Maps, x)
			exec = exec || x.Exec
		}
	}
	if !exec {
		return nil, nil
	}
	mod.BuildID, err = h.buildID(func(s segment) uint64 { return mod.Bias + s.addr }, inFirst)
	if err != nil {
		return nil, err
	}
	return mod, nil
}

// within reads from first, which is the memory at start, and what is not in it
// with at.
func within(first []byte, start uint64, at func([]byte, uint64) error) func([]byte, uint64) error {
	return func(p []byte, addr uint64) error {
		off := addr - start
		if n := uint64(len(first)); addr >= start && off <= n && uint64(len(p)) <= n-off {
			copy(p, first[off:])
			return nil
		}
		return at(p, addr)
	}
}

// covers says whether mapping x is part of the module whose first page is
// mapped by m: it shows a PT_LOAD of the same file at its place, or it is
// anonymous memory in the place of one (.bss; text that was copied to huge
// pages).
func (h header) covers(x, m Map, bias uint64) bool {
	anon := x.Inode == 0 && x.Path == ""
	if !anon && (x.Inode != m.Inode || x.Dev != m.Dev || x.Inode == 0 && x.Path != m.Path) {
		return false
	}
	for _, s := range h.loads {
		lo, hi := bias+floor(s.addr), bias+ceil(s.addr+s.mem)
		if x.Start < hi && lo < x.End && (anon || x.Start-x.Off == bias+s.addr-s.off) {
			return true
		}
	}
	return false
}

// BuildIDAt is the build-id of the image that is loaded with this bias and has
// its first page there, as position-independent ones have; "" when that has none.
// Anything else there is an error.
func BuildIDAt(mem io.ReaderAt, bias uint64) (string, error) {
	lent := pages().Get().(*[pageSize]byte)
	defer pages().Put(lent)
	first := lent[:]
	at := within(first, bias, func(p []byte, addr uint64) error {
		_, err := mem.ReadAt(p, int64(addr))
		return err
	})
	if _, err := mem.ReadAt(first, int64(bias)); err != nil {
		return "", err
	}
	h, ok, err := parseHeader(first, func(p []byte, off uint64) error { return at(p, bias+off) })
	if err != nil {
		return "", fmt.Errorf("image at %#x: %w", bias, err)
	}
	if start, begins := h.start(); !ok || !begins || start != 0 {
		return "", fmt.Errorf("at %#x: %w", bias, errNotELF)
	}
	return h.buildID(func(s segment) uint64 { return bias + s.addr }, at)
}
