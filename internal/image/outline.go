package image

import (
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// Outline reads of an ELF file that a process has loaded only what is asked for:
// what the file says to the dynamic loader, and its unwind data. The file may be
// hostile, and larger by its own words than any memory: how many bytes are read is
// bounded, and all is checked before it is allocated. Unlike Open it does without
// section headers, and does not mind those of sections that nobody asks for.
type Outline struct {
	f    *file
	most uint64
}

// maxOutline bounds what is read of one file. The largest tables seen are those of
// browsers, with 15 MiB.
const maxOutline = 64 << 20

// ReadOutline reads the headers. At most most bytes of sections will be read.
func ReadOutline(r io.ReaderAt, size int64, name string, most uint64) (*Outline, error) {
	n := uint64(max(size, 0))
	most = min(most, maxOutline)
	f := &file{name: name, r: r, size: n, unread: most, most: most, outline: true}
	h, err := f.fileHeader()
	if err == nil {
		phnum := uint64(le.Uint16(h[56:]))
		if le.Uint64(h[40:]) != 0 {
			phnum, err = f.readSections(h)
		}
		if err == nil {
			err = f.readSegments(h, phnum)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &Outline{f, most}, nil
}

// Cost is how many bytes of sections have been read.
func (o *Outline) Cost() uint64 { return o.most - o.f.unread }

func (o *Outline) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", o.f.name, err)
}

// Code lists the executable PT_LOADs.
func (o *Outline) Code() []Load {
	var out []Load
	for _, p := range o.f.segments {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			out = append(out, Load{Addr: Addr(p.Vaddr), Off: p.Off, File: p.Filesz, Mem: p.Memsz, Flags: p.Flags})
		}
	}
	return out
}

// Segment is where the first segment of a type is in memory, and its size there;
// 0: there is none.
func (o *Outline) Segment(t elf.ProgType) (at Addr, size uint64) {
	if p := o.f.segment(t); p != nil {
		return Addr(p.Vaddr), p.Memsz
	}
	return 0, 0
}

// Frames are the bytes of .eh_frame and their address, nil when there is none.
func (o *Outline) Frames() ([]byte, Addr, error) {
	h := o.f.section(".eh_frame")
	if h == nil {
		return nil, 0, nil
	}
	b, err := o.f.data(h)
	return b, Addr(h.Addr), o.wrap(err)
}

// Loading is what a file asks of the dynamic loader.
type Loading struct {
	Soname string
	Needed []string
	Flags1 elf.DynFlag1
}

// maxNeeded bounds the libraries that one is linked with; LibreOffice has 90.
const maxNeeded = 4096

// Loading reads the dynamic section; it is zero when there is none.
func (o *Outline) Loading() (l Loading, err error) {
	h := o.f.ofType(elf.SHT_DYNAMIC)
	if h == nil {
		return l, nil
	}
	b, err := o.f.data(h)
	if err != nil {
		return l, o.wrap(err)
	}
	names, err := o.f.linkedStrings(h)
	if err != nil {
		return l, o.wrap(err)
	}
	for ; len(b) >= 16; b = b[16:] {
		tag, val := elf.DynTag(le.Uint64(b)), le.Uint64(b[8:])
		switch tag {
		case elf.DT_NULL:
			return l, nil
		case elf.DT_FLAGS_1:
			l.Flags1 = elf.DynFlag1(val)
		case elf.DT_SONAME, elf.DT_NEEDED:
			s, err := names.at64(val)
			if err != nil {
				return l, o.wrap(fmt.Errorf("section %s: %v: %w", h.Name, tag, err))
			}
			if tag == elf.DT_SONAME {
				l.Soname = s
			} else if l.Needed = append(l.Needed, s); len(l.Needed) > maxNeeded {
				return l, o.wrap(fmt.Errorf("section %s: more than %d libraries", h.Name, maxNeeded))
			}
		}
	}
	return l, nil
}

// DynamicSymbol is an entry of .dynsym as the loader sees it.
type DynamicSymbol struct {
	Name, Version string
	Value         uint64
	Type          elf.SymType
	Undefined     bool
	Absolute      bool // Value is a number and no address
	Local         bool
	Hidden        bool // an old version of Name: only who asks for Version gets it
}

// Symbols reads .dynsym with its versions, nil when there is none.
func (o *Outline) Symbols() ([]DynamicSymbol, error) {
	raw, err := o.f.symbolTable(elf.SHT_DYNSYM)
	if err == nil {
		err = o.f.nameVersions(raw)
	}
	if err != nil {
		return nil, o.wrap(err)
	}
	out := make([]DynamicSymbol, 0, len(raw))
	for i := range raw {
		s := &raw[i]
		out = append(out, DynamicSymbol{
			Name: s.Name, Version: s.Version, Value: uint64(s.Addr), Type: s.Type,
			Undefined: !s.defined && !s.absolute, Absolute: s.absolute, Local: s.Local, Hidden: s.Hidden,
		})
	}
	return out, nil
}

// Imports says whether .dynsym has an undefined symbol of this name. It makes
// nothing of the others: libc has thousands.
func (o *Outline) Imports(name string) (bool, error) {
	h := o.f.ofType(elf.SHT_DYNSYM)
	if h == nil {
		return false, nil
	}
	names, err := o.f.linkedStrings(h)
	if err != nil {
		return false, o.wrap(err)
	}
	name += "\x00"
	if !strings.Contains(string(names), name) {
		return false, nil
	}
	b, err := o.f.data(h)
	if err != nil {
		return false, o.wrap(err)
	}
	for ; len(b) >= elf.Sym64Size; b = b[elf.Sym64Size:] {
		at := uint64(le.Uint32(b))
		if elf.SectionIndex(le.Uint16(b[6:])) == elf.SHN_UNDEF && at < uint64(len(names)) && strings.HasPrefix(string(names[at:]), name) {
			return true, nil
		}
	}
	return false, nil
}
