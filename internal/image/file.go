package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

var le = binary.LittleEndian

// file is an ELF file as its headers describe it, before anything is believed.
// We read the headers ourselves: the tables of a hostile file may claim any
// size, and a message must say which field of which section is wrong.
type file struct {
	name     string
	r        io.ReaderAt
	size     uint64
	typ      elf.Type
	sections []*header
	segments []elf.ProgHeader
	dynsym   []rawSymbol // read by readSymbols, for relocations
	symtab   []rawSymbol // the same of .symtab
	// unread is what may still be read as section data. Sections do not
	// overlap in the file, so together they cannot exceed its size.
	unread  uint64
	most    uint64 // what unread was at most; 0: maxContent
	object  bool   // relocatable objects will do, too
	outline bool   // section headers are checked when they are used
}

// header is one section header.
type header struct {
	elf.SectionHeader
	data   []byte
	text   stringTable // data as one, made on first use
	loaded bool
}

const (
	headerSize  = 64
	sectionSize = 64
	segmentSize = 56
)

// Bounds far above what linkers make, for files (sparse ones too) that say
// more than they hold.
const (
	maxContent  = 2 << 30 // bytes read of one file; a browser has 0.3 GiB
	maxSections = 1 << 16 // and segments; usual are 40 and 13
	maxName     = 1 << 16 // bytes; the longest C++ symbols seen have 10 KiB
)

// openFile reads and checks the headers. Errors do not repeat the file name:
// the callers put it in front.
func openFile(r io.ReaderAt, size int64, name string) (*file, error) {
	n := uint64(max(size, 0))
	f := &file{name: name, r: r, size: n, unread: min(n, maxContent)}
	h, err := f.fileHeader()
	if err != nil {
		return nil, err
	}
	phnum, err := f.readSections(h)
	if err != nil {
		return nil, err
	}
	return f, f.readSegments(h, phnum)
}

// fileHeader checks the ELF header (gABI figure 4-3).
func (f *file) fileHeader() ([]byte, error) {
	if f.size < headerSize {
		return nil, fmt.Errorf("not an ELF file: only %d bytes", f.size)
	}
	h, err := f.bytes(0, headerSize)
	if err != nil {
		return nil, fmt.Errorf("ELF header: %w", err)
	}
	if !bytes.HasPrefix(h, []byte(elf.ELFMAG)) {
		return nil, fmt.Errorf("not an ELF file: starts with % x", h[:4])
	}
	if c := elf.Class(h[elf.EI_CLASS]); c == elf.ELFCLASS32 {
		return nil, errors.New("is a 32-bit ELF file; hotpatch patches x86-64")
	} else if c != elf.ELFCLASS64 {
		return nil, fmt.Errorf("ELF header: unknown class %d at offset 4", c)
	}
	if d := elf.Data(h[elf.EI_DATA]); d != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("is a big-endian ELF file (byte order %d at offset 5); hotpatch patches x86-64", d)
	}
	if m := elf.Machine(le.Uint16(h[18:])); m != elf.EM_X86_64 {
		return nil, fmt.Errorf("is an ELF file for %s; hotpatch patches x86-64", machineName(m))
	}
	f.typ = elf.Type(le.Uint16(h[16:]))
	switch f.typ {
	case elf.ET_EXEC, elf.ET_DYN:
	case elf.ET_REL:
		if f.object {
			break
		}
		return nil, errors.New("is a relocatable object; hotpatch patches linked programs and shared libraries")
	case elf.ET_CORE:
		return nil, errors.New("is a core dump, not a program")
	default:
		return nil, fmt.Errorf("ELF header: type %v at offset 16 is neither a program nor a shared library", f.typ)
	}
	return h, nil
}

func machineName(m elf.Machine) string {
	switch m {
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "i386"
	case elf.EM_PPC64:
		return "ppc64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_MIPS:
		return "mips"
	case elf.EM_LOONGARCH:
		return "loong64"
	}
	return m.String()
}

// readSections reads the section headers and their names, and returns the
// number of program headers, which section 0 holds when it does not fit.
func (f *file) readSections(h []byte) (phnum uint64, err error) {
	off, n, names := le.Uint64(h[40:]), uint64(le.Uint16(h[60:])), uint64(le.Uint16(h[62:]))
	phnum = uint64(le.Uint16(h[56:]))
	if off == 0 {
		return 0, errors.New("has no section headers (packed, or stripped of them): its parts cannot be told apart")
	}
	if s := le.Uint16(h[58:]); s != sectionSize {
		return 0, fmt.Errorf("ELF header: section headers of %d bytes at offset 58, want %d", s, sectionSize)
	}
	zero, err := f.bytes(off, sectionSize)
	if err != nil {
		return 0, fmt.Errorf("section headers: %w", err)
	}
	if n == 0 {
		n = le.Uint64(zero[32:])
	}
	if names == uint64(elf.SHN_XINDEX) {
		names = uint64(le.Uint32(zero[40:]))
	}
	if phnum == 0xffff {
		phnum = uint64(le.Uint32(zero[44:]))
	}
	if n > maxSections {
		return 0, fmt.Errorf("section headers: %d of them are not believed (at most %d)", n, maxSections)
	}
	b, err := f.bytes(off, n*sectionSize)
	if err != nil {
		return 0, fmt.Errorf("section headers: %w", err)
	}
	if names >= n {
		return 0, fmt.Errorf("section headers: the section of their names is %d of %d", names, n)
	}
	all := make([]header, n)
	f.sections = make([]*header, n)
	nameAt := make([]uint32, n)
	for i := range all {
		nameAt[i] = all[i].decode(b[i*sectionSize:])
		f.sections[i] = &all[i]
	}
	table, err := f.stringTable(f.sections[names])
	if err != nil {
		return 0, fmt.Errorf("section names: %w", err)
	}
	for i, s := range f.sections {
		if s.Name, err = table.at(nameAt[i]); err != nil {
			return 0, fmt.Errorf("name of section %d: %w", i, err)
		}
	}
	if f.outline {
		return phnum, nil
	}
	return phnum, f.checkSections()
}

// decode reads one Elf64_Shdr and returns the offset of its name.
func (s *header) decode(b []byte) uint32 {
	s.SectionHeader = elf.SectionHeader{
		Type:      elf.SectionType(le.Uint32(b[4:])),
		Flags:     elf.SectionFlag(le.Uint64(b[8:])),
		Addr:      le.Uint64(b[16:]),
		Offset:    le.Uint64(b[24:]),
		Size:      le.Uint64(b[32:]),
		Link:      le.Uint32(b[40:]),
		Info:      le.Uint32(b[44:]),
		Addralign: le.Uint64(b[48:]),
		Entsize:   le.Uint64(b[56:]),
	}
	s.FileSize = s.Size
	return le.Uint32(b)
}

func (f *file) checkSections() error {
	for i, s := range f.sections {
		if s.Type == elf.SHT_NULL {
			continue
		}
		if s.Addr+s.Size < s.Addr {
			return fmt.Errorf("section %d %s: address %#x and size %#x overflow", i, s.Name, s.Addr, s.Size)
		}
		if s.Type != elf.SHT_NOBITS && (s.Offset > f.size || s.Size > f.size-s.Offset) {
			return fmt.Errorf("section %d %s: offset %#x and size %#x are beyond the end of the file (%d bytes): truncated?",
				i, s.Name, s.Offset, s.Size, f.size)
		}
	}
	return nil
}

// readSegments reads the program headers.
func (f *file) readSegments(h []byte, n uint64) error {
	if n == 0 {
		return nil
	}
	if s := le.Uint16(h[54:]); s != segmentSize {
		return fmt.Errorf("ELF header: program headers of %d bytes at offset 54, want %d", s, segmentSize)
	}
	if n > maxSections {
		return fmt.Errorf("program headers: %d of them are not believed (at most %d)", n, maxSections)
	}
	b, err := f.bytes(le.Uint64(h[32:]), n*segmentSize)
	if err != nil {
		return fmt.Errorf("program headers: %w", err)
	}
	f.segments = make([]elf.ProgHeader, n)
	for i := range f.segments {
		p := b[i*segmentSize:]
		s := elf.ProgHeader{
			Type:   elf.ProgType(le.Uint32(p)),
			Flags:  elf.ProgFlag(le.Uint32(p[4:])),
			Off:    le.Uint64(p[8:]),
			Vaddr:  le.Uint64(p[16:]),
			Paddr:  le.Uint64(p[24:]),
			Filesz: le.Uint64(p[32:]),
			Memsz:  le.Uint64(p[40:]),
			Align:  le.Uint64(p[48:]),
		}
		if s.Vaddr+s.Memsz < s.Vaddr {
			return fmt.Errorf("program header %d (%v): address %#x and size %#x overflow", i, s.Type, s.Vaddr, s.Memsz)
		}
		f.segments[i] = s
	}
	return nil
}

// bytes reads n bytes at off, which must be in the file.
func (f *file) bytes(off, n uint64) ([]byte, error) {
	if off > f.size || n > f.size-off {
		return nil, fmt.Errorf("%d bytes at offset %#x are beyond the end of the file (%d bytes): truncated?", n, off, f.size)
	}
	if n > maxContent {
		return nil, fmt.Errorf("%d bytes at offset %#x are too many (at most %d)", n, off, maxContent)
	}
	b := make([]byte, n)
	if k, err := f.r.ReadAt(b, int64(off)); uint64(k) < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %d bytes at offset %#x: %w", n, off, err)
	}
	return b, nil
}

// data is the content of a section, read once; nil for NOBITS.
func (f *file) data(s *header) ([]byte, error) {
	if s.loaded || s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
		return s.data, nil
	}
	if most := cmp.Or(f.most, maxContent); s.Size > f.unread && f.size > most {
		return nil, fmt.Errorf("section %s: %d bytes are too many (at most %d in all sections)", s.Name, s.Size, most)
	}
	if s.Size > f.unread {
		return nil, fmt.Errorf("section %s: overlaps other sections in the file (offset %#x, size %#x)", s.Name, s.Offset, s.Size)
	}
	b, err := f.bytes(s.Offset, s.Size)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	f.unread -= s.Size
	s.data, s.loaded = b, true
	return b, nil
}

// linked is the section that sh_link of s names.
func (f *file) linked(s *header, want elf.SectionType) (*header, error) {
	if int64(s.Link) >= int64(len(f.sections)) || f.sections[s.Link].Type != want {
		return nil, fmt.Errorf("section %s: link %d is no section of type %v", s.Name, s.Link, want)
	}
	return f.sections[s.Link], nil
}

// linkedStrings is the string table that s links to.
func (f *file) linkedStrings(s *header) (stringTable, error) {
	l, err := f.linked(s, elf.SHT_STRTAB)
	if err != nil {
		return "", err
	}
	return f.stringTable(l)
}

func (f *file) stringTable(s *header) (stringTable, error) {
	b, err := f.data(s)
	if err != nil {
		return "", err
	}
	if s.text == "" {
		s.text = stringTable(b)
	}
	return s.text, nil
}

// section is the first section of that name, nil when there is none.
func (f *file) section(name string) *header {
	for _, s := range f.sections {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// ofType is the first section of that type, nil when there is none.
func (f *file) ofType(t elf.SectionType) *header {
	for _, s := range f.sections {
		if s.Type == t {
			return s
		}
	}
	return nil
}

// segment is the first program header of that type, nil when there is none.
func (f *file) segment(t elf.ProgType) *elf.ProgHeader {
	for i := range f.segments {
		if f.segments[i].Type == t {
			return &f.segments[i]
		}
	}
	return nil
}

// stringTable is a string table; the names cut from it share its memory.
type stringTable string

func (t stringTable) at(off uint32) (string, error) {
	if uint64(off) >= uint64(len(t)) {
		if off == 0 {
			return "", nil // an empty table
		}
		return "", fmt.Errorf("offset %#x is beyond the string table (%d bytes)", off, len(t))
	}
	s := string(t[off:min(uint64(off)+maxName, uint64(len(t)))])
	n := strings.IndexByte(s, 0)
	if n < 0 {
		return "", fmt.Errorf("string at offset %#x has no end", off)
	}
	return s[:n], nil
}
