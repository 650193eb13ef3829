package image

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Symbol is a defined symbol.
type Symbol struct {
	Name, Version string
	Addr          Addr // STT_TLS: the offset in the TLS block instead
	Size          uint64
	Type          elf.SymType
	Dynamic       bool   // from .dynsym: may be used across images
	Local         bool   // STB_LOCAL: the name may repeat
	Weak          bool   // STB_WEAK: others may have one of that name, too
	Hidden        bool   // an old version of Name: only who asks for Version gets it
	Source        string // of a local one: the file it was compiled from (STT_FILE), "" when not known
}

// rawSymbol is a symbol as a relocation sees it: by position, undefined ones too.
type rawSymbol struct {
	Symbol
	defined  bool
	absolute bool // its value is a number and no address (SHN_ABS)
}

// readSymbols takes .dynsym and .symtab, or what .gnu_debugdata has of it.
func (m *Image) readSymbols(f *file) error {
	dyn, err := f.symbolTable(elf.SHT_DYNSYM)
	if err != nil {
		return err
	}
	if err := f.nameVersions(dyn); err != nil {
		return err
	}
	f.dynsym = dyn
	m.weak = map[Import]bool{}
	for i := range dyn {
		if s := &dyn[i]; s.Weak && !s.defined && !s.absolute {
			m.weak[Import{s.Name, s.Version}] = true
		}
	}
	tab, err := f.symbolTable(elf.SHT_SYMTAB)
	if err != nil {
		return err
	}
	f.symtab = tab
	m.Sources = sources(tab)
	m.Stripped = f.ofType(elf.SHT_SYMTAB) == nil
	all := append(defined(dyn), defined(tab)...)
	if m.Stripped {
		more, err := f.miniSymbols()
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	m.setSymbols(all)
	return nil
}

// setSymbols orders the symbols: addresses first, then TLS, whose values are
// offsets and would be mistaken for addresses.
func (m *Image) setSymbols(all []Symbol) {
	slices.SortStableFunc(all, func(a, b Symbol) int {
		if d := cmp.Compare(isTLS(a), isTLS(b)); d != 0 {
			return d
		}
		return cmp.Compare(a.Addr, b.Addr)
	})
	m.Symbols = all
	m.addressed = len(all)
	m.dynamic = map[string]int{}
	keys := make([]Addr, 0, len(all))
	for i, s := range all {
		if s.Type != elf.STT_TLS {
			keys = append(keys, s.Addr)
		} else if m.addressed == len(all) {
			m.addressed = i
		}
		if s.Dynamic && !s.Local {
			if old, ok := m.dynamic[s.Name]; !ok || all[old].Hidden && !s.Hidden {
				m.dynamic[s.Name] = i
			}
		}
	}
	m.symbolIndex = NewIndex(keys)
}

func isTLS(s Symbol) int {
	if s.Type == elf.STT_TLS {
		return 1
	}
	return 0
}

// defined drops imports, and what names no place: files, sections, absolute
// values (the versions themselves are such).
func defined(raw []rawSymbol) []Symbol {
	out := make([]Symbol, 0, len(raw))
	for _, s := range raw {
		if s.defined && s.Name != "" && s.Type != elf.STT_FILE && s.Type != elf.STT_SECTION {
			out = append(out, s.Symbol)
		}
	}
	return out
}

// WeakImport says that the image asks for i by a weak symbol: it is 0 where
// nothing defines it.
func (m *Image) WeakImport(i Import) bool { return m.weak[i] }

// sources are the names of files among the symbols, in their order.
func sources(raw []rawSymbol) []string {
	var out []string
	for i := range raw {
		if raw[i].Type == elf.STT_FILE && raw[i].Name != "" {
			out = append(out, raw[i].Name)
		}
	}
	return out
}

// symbolTable decodes the first section of type t, empty when there is none.
func (f *file) symbolTable(t elf.SectionType) ([]rawSymbol, error) {
	const symbolSize = 24
	h := f.ofType(t)
	if h == nil {
		return nil, nil
	}
	b, err := f.data(h)
	if err != nil {
		return nil, err
	}
	if len(b)%symbolSize != 0 {
		return nil, fmt.Errorf("section %s: size %#x is no multiple of %d", h.Name, len(b), symbolSize)
	}
	names, err := f.linkedStrings(h)
	if err != nil {
		return nil, err
	}
	out := make([]rawSymbol, len(b)/symbolSize)
	source := "" // the local symbols of a file follow its name; ld ends the last one with no name
	for i := range out {
		e := b[i*symbolSize:]
		s := &out[i]
		if s.Name, err = names.at(le.Uint32(e)); err != nil {
			return nil, fmt.Errorf("section %s: symbol %d: %w", h.Name, i, err)
		}
		s.Type, s.Local = elf.ST_TYPE(e[4]), elf.ST_BIND(e[4]) == elf.STB_LOCAL
		s.Weak = elf.ST_BIND(e[4]) == elf.STB_WEAK
		s.Addr, s.Size = Addr(le.Uint64(e[8:])), le.Uint64(e[16:])
		s.Dynamic = t == elf.SHT_DYNSYM
		where := elf.SectionIndex(le.Uint16(e[6:]))
		s.defined = where != elf.SHN_UNDEF && where != elf.SHN_ABS && where != elf.SHN_COMMON
		s.absolute = where == elf.SHN_ABS
		switch {
		case s.Type == elf.STT_FILE:
			source = s.Name
		case s.Local:
			s.Source = source
		}
		if !s.Dynamic {
			// ld writes versions into the names of .symtab: read@GLIBC_2.2.5.
			s.splitVersion()
		}
	}
	return out, nil
}

func (s *rawSymbol) splitVersion() {
	name, version, ok := strings.Cut(s.Name, "@")
	if !ok || name == "" {
		return
	}
	s.Name = name
	s.Version = strings.TrimPrefix(version, "@")
	s.Hidden = version == s.Version && s.defined
}

// nameVersions fills Version and Hidden of dynamic symbols (gABI does not
// know versions; LSB 5.0 §10.7).
func (f *file) nameVersions(dyn []rawSymbol) error {
	h := f.ofType(elf.SHT_GNU_VERSYM)
	if h == nil {
		return nil
	}
	b, err := f.data(h)
	if err != nil {
		return err
	}
	if len(b) < 2*len(dyn) {
		return fmt.Errorf("section %s: %d bytes for %d symbols", h.Name, len(b), len(dyn))
	}
	names := map[uint16]string{}
	if err := f.versionNames(elf.SHT_GNU_VERDEF, names); err != nil {
		return err
	}
	if err := f.versionNames(elf.SHT_GNU_VERNEED, names); err != nil {
		return err
	}
	for i := range dyn {
		v := le.Uint16(b[2*i:])
		if v&0x7fff > 1 { // 0 local, 1 global without a version
			dyn[i].Version = names[v&0x7fff]
			dyn[i].Hidden = v&0x8000 != 0 && dyn[i].defined
		}
	}
	return nil
}

// versionLayout says where the fields are in the entries of a version table
// and in the auxiliary entries that hold the names (LSB 5.0 §10.7.2, §10.7.3).
type versionLayout struct {
	size, auxAt, nextAt uint64
	auxSize             uint64
}

var (
	verdef  = versionLayout{size: 20, auxAt: 12, nextAt: 16, auxSize: 8}
	verneed = versionLayout{size: 16, auxAt: 8, nextAt: 12, auxSize: 16}
)

// versionNames reads .gnu.version_d or .gnu.version_r: a chain of entries
// linked by distances.
func (f *file) versionNames(t elf.SectionType, names map[uint16]string) error {
	h := f.ofType(t)
	if h == nil {
		return nil
	}
	b, err := f.data(h)
	if err != nil || len(b) == 0 {
		return err
	}
	str, err := f.linkedStrings(h)
	if err != nil {
		return err
	}
	l, read := verdef, readVerdef
	if t == elf.SHT_GNU_VERNEED {
		l, read = verneed, readVerneed
	}
	// Entries do not share bytes, so there are no more than fit; a hostile
	// table could otherwise step through itself byte by byte.
	left := uint64(len(b)) / l.auxSize
	for off, next := uint64(0), uint64(1); next != 0; off += next {
		if off+l.size > uint64(len(b)) {
			return fmt.Errorf("section %s: entry at offset %#x is beyond its end", h.Name, off)
		}
		next = uint64(le.Uint32(b[off+l.nextAt:]))
		if next != 0 && next < l.size {
			return fmt.Errorf("section %s: entry at offset %#x: entries overlap", h.Name, off)
		}
		if err := read(b, off, off+uint64(le.Uint32(b[off+l.auxAt:])), &left, str, names); err != nil {
			return fmt.Errorf("section %s: entry at offset %#x: %w", h.Name, off, err)
		}
	}
	return nil
}

// readVerdef names the version that the Elf64_Verdef at off defines. Only its
// first auxiliary entry does so; the others name its parents.
func readVerdef(b []byte, off, aux uint64, _ *uint64, str stringTable, names map[uint16]string) error {
	if aux+verdef.auxSize > uint64(len(b)) {
		return errors.New("its name is beyond the end of the section")
	}
	name, err := str.at(le.Uint32(b[aux:]))
	names[le.Uint16(b[off+4:])&0x7fff] = name
	return err
}

// readVerneed names the versions that the Elf64_Verneed at off asks of one
// library: a chain of auxiliary entries. left bounds their number.
func readVerneed(b []byte, off, aux uint64, left *uint64, str stringTable, names map[uint16]string) error {
	for range le.Uint16(b[off+2:]) {
		if aux+verneed.auxSize > uint64(len(b)) {
			return errors.New("one of its versions is beyond the end of the section")
		}
		if *left == 0 {
			return errors.New("entries overlap")
		}
		*left--
		name, err := str.at(le.Uint32(b[aux+8:]))
		if err != nil {
			return err
		}
		names[le.Uint16(b[aux+6:])&0x7fff] = name
		next := uint64(le.Uint32(b[aux+12:]))
		if next == 0 {
			return nil
		}
		aux += next
	}
	return nil
}

// SymbolsAt are the symbols with exactly this address. The slice must not be
// written.
func (m *Image) SymbolsAt(a Addr) []Symbol {
	hi := m.symbolIndex.Find(a) + 1
	lo := hi
	for lo > 0 && m.Symbols[lo-1].Addr == a {
		lo--
	}
	return m.Symbols[lo:hi:hi]
}

// LastSymbol is the index of the last of Symbols that is not above a, -1 when
// there is none.
func (m *Image) LastSymbol(a Addr) int { return m.symbolIndex.Find(a) }

// Dynamic is the exported symbol of that name, if this image defines it: the
// default version where there are several.
func (m *Image) Dynamic(name string) (Symbol, bool) {
	i, ok := m.dynamic[name]
	if !ok {
		return Symbol{}, false
	}
	return m.Symbols[i], true
}
