package image

import (
	"cmp"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// readLoads takes the program headers: PT_LOAD, PT_TLS.
func (m *Image) readLoads(f *file) error {
	for _, p := range f.segments {
		if p.Type == elf.PT_LOAD {
			m.Loads = append(m.Loads, Load{Addr: Addr(p.Vaddr), Off: p.Off, File: p.Filesz, Mem: p.Memsz, Flags: p.Flags})
		}
	}
	slices.SortStableFunc(m.Loads, func(a, b Load) int { return cmp.Compare(a.Addr, b.Addr) })
	tls := f.segment(elf.PT_TLS)
	if tls == nil {
		return nil
	}
	if tls.Filesz > tls.Memsz {
		return fmt.Errorf("PT_TLS: file size %#x exceeds memory size %#x", tls.Filesz, tls.Memsz)
	}
	b, err := f.bytes(tls.Off, tls.Filesz)
	if err != nil {
		return fmt.Errorf("PT_TLS: %w", err)
	}
	m.TLSSize, m.TLSAlign, m.TLSInit = tls.Memsz, tls.Align, b
	return nil
}

// readSections takes the allocated sections and refuses those that share
// addresses, since an address must have one meaning.
func (m *Image) readSections(f *file) error {
	relro := f.segment(elf.PT_GNU_RELRO)
	for _, h := range f.sections {
		if h.Flags&elf.SHF_ALLOC == 0 || h.Type == elf.SHT_NULL {
			continue
		}
		if h.Flags&elf.SHF_COMPRESSED != 0 {
			return fmt.Errorf("section %s: allocated sections cannot be compressed", h.Name)
		}
		data, err := f.data(h)
		if err != nil {
			return err
		}
		m.Sections = append(m.Sections, &Section{
			Name: h.Name, Addr: Addr(h.Addr), Size: Addr(h.Size), Align: h.Addralign,
			Class: classOf(h, relro), Data: data,
		})
	}
	slices.SortStableFunc(m.Sections, func(a, b *Section) int { return cmp.Compare(a.Addr, b.Addr) })
	var keys []Addr
	for _, s := range m.Sections {
		// .tbss has an address but takes no space: each thread has its own.
		if s.Size == 0 || s.Class == TLS && s.Data == nil {
			continue
		}
		if n := len(m.mapped); n > 0 && m.mapped[n-1].end() > s.Addr {
			return fmt.Errorf("sections %s and %s overlap at address %#x", m.mapped[n-1].Name, s.Name, s.Addr)
		}
		m.mapped = append(m.mapped, s)
		keys = append(keys, s.Addr)
	}
	m.sectionIndex = NewIndex(keys)
	return nil
}

func (s *Section) end() Addr { return s.Addr + s.Size }

// classOf decides by name where the linkers' names carry the meaning, else by
// type and flags.
func classOf(h *header, relro *elf.ProgHeader) Class {
	switch h.Name {
	case ".plt", ".plt.sec", ".plt.got", ".plt.bnd":
		return PLT
	case ".got", ".got.plt":
		return GOT
	case ".ctors", ".dtors":
		return Init
	case ".eh_frame", ".eh_frame_hdr", ".interp", ".stapsdt.base",
		".note.gnu.build-id", ".note.gnu.property", ".note.gnu.gold-version", ".note.ABI-tag":
		return Meta
	}
	switch h.Type {
	case elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY:
		return Init
	case elf.SHT_DYNAMIC:
		return Meta
	}
	switch {
	case h.Flags&elf.SHF_EXECINSTR != 0:
		return Text
	case h.Flags&elf.SHF_TLS != 0:
		return TLS
	case h.Type == elf.SHT_NOBITS:
		return BSS
	case strings.HasPrefix(h.Name, ".gcc_except_table"):
		return Meta
	case strings.HasPrefix(h.Name, ".data.rel.ro"):
		return RelRO
	case h.Flags&elf.SHF_WRITE != 0:
		// What the loader makes read-only after relocation is constant too,
		// whatever its name: glibc keeps its vtables so.
		if relro != nil && h.Addr >= relro.Vaddr && h.Addr+h.Size <= relro.Vaddr+relro.Memsz {
			return RelRO
		}
		return Data
	case h.Type == elf.SHT_PROGBITS, h.Type == elf.SHT_NOTE, h.Type >= elf.SHT_LOUSER:
		return ROData // what programs put into notes of their own they may read
	}
	return Meta
}

// buildID is the descriptor of the NT_GNU_BUILD_ID note, "" when there is none.
func (f *file) buildID() (BuildID, error) {
	for _, h := range f.sections {
		if h.Type != elf.SHT_NOTE {
			continue
		}
		b, err := f.data(h)
		if err != nil {
			return "", err
		}
		if id := buildIDNote(b); len(id) > 0 {
			return BuildID(hex.EncodeToString(id)), nil
		}
	}
	return "", nil
}

// buildIDNote searches a note section (gABI "Note Section"): name size,
// descriptor size, type, then both, each padded to 4 bytes.
func buildIDNote(b []byte) []byte {
	const ntGNUBuildID = 3
	for len(b) >= 12 {
		name, desc, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		at := 12 + (name+3)&^3
		if at+desc > uint64(len(b)) {
			return nil
		}
		if typ == ntGNUBuildID && string(b[12:12+name]) == "GNU\x00" {
			return b[at : at+desc]
		}
		b = b[min(at+(desc+3)&^3, uint64(len(b))):]
	}
	return nil
}

// SectionAt is the section that holds a; the end address of a section belongs
// to it when nothing else starts there. nil: none.
func (m *Image) SectionAt(a Addr) *Section {
	i := m.sectionIndex.Find(a)
	if i < 0 {
		return nil
	}
	if s := m.mapped[i]; a <= s.end() {
		return s
	}
	return nil
}

// ClassAt is the class of the section at a, None when there is none.
func (m *Image) ClassAt(a Addr) Class {
	if s := m.SectionAt(a); s != nil {
		return s.Class
	}
	return None
}

// Bytes returns the n bytes at a, and fewer (or none) where the section ends
// or has no content in the file. The slice must not be written.
func (m *Image) Bytes(a Addr, n int) []byte {
	s := m.SectionAt(a)
	if s == nil || n <= 0 {
		return nil
	}
	off := a - s.Addr
	if off >= Addr(len(s.Data)) {
		return nil
	}
	d := s.Data[off:]
	n = min(n, len(d))
	return d[:n:n]
}
