package image

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
)

const shtRELR = elf.SectionType(19)

// readRelocs takes the relocations that the loader applies.
func (m *Image) readRelocs(f *file) error {
	for _, h := range f.sections {
		if h.Flags&elf.SHF_ALLOC == 0 {
			continue // left by --emit-relocs: see readKept
		}
		var err error
		switch h.Type {
		case elf.SHT_RELA:
			err = m.readRela(f, h)
		case shtAndroidRela:
			err = m.readPacked(f, h)
		case shtRELR, shtAndroidRelr:
			err = m.readRelr(f, h)
		case elf.SHT_REL:
			err = fmt.Errorf("relocations without addends are not used on x86-64")
		}
		if err != nil {
			return fmt.Errorf("section %s: %w", h.Name, err)
		}
	}
	m.readKept(f)
	slices.SortStableFunc(m.Relocs, func(a, b Reloc) int { return cmp.Compare(a.At, b.At) })
	keys := make([]Addr, len(m.Relocs))
	for i := range m.Relocs {
		keys[i] = m.Relocs[i].At
	}
	m.relocIndex = NewIndex(keys)
	m.findSlots()
	return nil
}

func (m *Image) readRela(f *file, h *header) error {
	const relaSize = 24
	b, err := f.data(h)
	if err != nil {
		return err
	}
	if len(b)%relaSize != 0 {
		return fmt.Errorf("size %#x is no multiple of %d", len(b), relaSize)
	}
	m.Relocs = slices.Grow(m.Relocs, len(b)/relaSize)
	for i := 0; i < len(b); i += relaSize {
		if err := m.addReloc(f, Addr(le.Uint64(b[i:])), le.Uint64(b[i+8:]), int64(le.Uint64(b[i+16:]))); err != nil {
			return fmt.Errorf("relocation %d: %w", i/relaSize, err)
		}
	}
	return nil
}

// addReloc takes what Elf64_Rela holds.
func (m *Image) addReloc(f *file, at Addr, info uint64, addend int64) error {
	r := Reloc{At: at, Type: elf.R_X86_64(uint32(info)), Add: addend}
	if sym := info >> 32; sym != 0 {
		if sym >= uint64(len(f.dynsym)) {
			return fmt.Errorf("symbol %d of %d", sym, len(f.dynsym))
		}
		s := &f.dynsym[sym]
		r.Sym, r.Version, r.Func = s.Name, s.Version, s.Type == elf.STT_FUNC || s.Type == elf.STT_GNU_IFUNC
		if s.defined {
			r.SymAddr = s.Addr
		} else if s.absolute {
			n := uint64(s.Addr)
			r.Number = &n
		}
	}
	m.Relocs = append(m.Relocs, r)
	return nil
}

// readRelr expands relative relocations: an even word is an address, an odd
// one a bitmap of the 63 words that follow. Addends are in place. The places
// must ascend, as linkers write them: so there are never more than the image
// has words.
func (m *Image) readRelr(f *file, h *header) error {
	b, err := f.data(h)
	if err != nil {
		return err
	}
	var next, last Addr
	add := func(a Addr) error {
		if a <= last && last != 0 {
			return fmt.Errorf("address %#x does not ascend", a)
		}
		last = a
		w := m.Bytes(a, 8)
		if len(w) < 8 {
			return fmt.Errorf("address %#x is in no section with content", a)
		}
		m.Relocs = append(m.Relocs, Reloc{At: a, Type: elf.R_X86_64_RELATIVE, Add: int64(le.Uint64(w))})
		return nil
	}
	for i := 0; i+8 <= len(b); i += 8 {
		e := Addr(le.Uint64(b[i:]))
		if e&1 == 0 {
			if err := add(e); err != nil {
				return fmt.Errorf("entry %d: %w", i/8, err)
			}
			next = e + 8
			continue
		}
		for k := range Addr(63) {
			if e>>(k+1)&1 == 0 {
				continue
			}
			if err := add(next + 8*k); err != nil {
				return fmt.Errorf("entry %d: %w", i/8, err)
			}
		}
		next += 63 * 8
	}
	return nil
}

// findSlots notes which GOT slot holds which symbol. GLOB_DAT wins over
// JUMP_SLOT, which may still lead to the loader's resolver.
func (m *Image) findSlots() {
	m.gotSlots = map[Import]Addr{}
	for _, t := range []elf.R_X86_64{elf.R_X86_64_GLOB_DAT, elf.R_X86_64_JMP_SLOT} {
		for i := range m.Relocs {
			if r := &m.Relocs[i]; r.Type == t && r.Sym != "" {
				setImport(m.gotSlots, r.Sym, r.Version, r.At)
			}
		}
	}
}

// setImport notes a under name with its version and, for those who do not
// ask for one, without; the first one stays.
func setImport(to map[Import]Addr, name, version string, a Addr) {
	for _, k := range [2]Import{{name, version}, {name, ""}} {
		if _, ok := to[k]; !ok {
			to[k] = a
		}
	}
}

// RelocAt is the relocation that writes the 8 bytes at a, nil when there is none.
func (m *Image) RelocAt(a Addr) *Reloc {
	if i := m.relocIndex.Find(a); i >= 0 && m.Relocs[i].At == a {
		return &m.Relocs[i]
	}
	return nil
}

// RelocsIn are the relocations with lo <= At < hi. The slice must not be
// written.
func (m *Image) RelocsIn(lo, hi Addr) []Reloc {
	if lo >= hi {
		return nil
	}
	first, end := m.relocsBefore(lo), m.relocsBefore(hi)
	return m.Relocs[first:end:end]
}

// relocsBefore is the number of relocations with At < a.
func (m *Image) relocsBefore(a Addr) int {
	if a == 0 {
		return 0
	}
	return m.relocIndex.Find(a-1) + 1
}

// GOTOf is the slot that GLOB_DAT or JUMP_SLOT fills with name (any version
// when v is "").
func (m *Image) GOTOf(name, v string) (Addr, bool) {
	a, ok := m.gotSlots[Import{name, v}]
	return a, ok
}
