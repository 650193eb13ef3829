package image

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
)

// A program that is linked to a fixed address (ET_EXEC) needs no relocations to
// run, so nothing in it says which of its numbers are addresses: an immediate of
// 0x404040 may be a variable or four million. Only what the link editor was given
// knows, and leaves it in the file when asked to (ld --emit-relocs): the
// relocations of the object files, with offsets that are addresses and with the
// symbols of .symtab. They are read here, for such programs only, held against
// the bytes that they must have led to, and presented as what the rest of
// hotpatch knows from position-independent images:
//
//   - of data (R_X86_64_64), as relative relocations in Relocs;
//   - of code, as Kept;
//   - tables of pointers among the constants, which position-independent
//     code has in .data.rel.ro, as sections of class RelRO.
//
// Types: psABI 1.0 §4.4.1. The loader's own relocations say more (which image a
// name was imported from) and go first.

// Kept is a relocation of code that the link editor has kept.
type Kept struct {
	At   Addr // of the field
	Type elf.R_X86_64
	// Target is what an absolute field holds: an address of this image. 0 for
	// fields that hold distances.
	Target Addr
	// Lo and Hi bound the named variable or constant that the field refers to,
	// which needs not be where it leads: 0 when only its section is known.
	Lo, Hi Addr
}

// Size is the number of bytes of the field.
func (k *Kept) Size() int {
	if k.Type == elf.R_X86_64_64 {
		return 8
	}
	return 4
}

// Absolute: the field holds an address and no distance.
func (k *Kept) Absolute() bool { return k.Target != 0 }

// ErrUnkept says that a program is linked to a fixed address and does not keep
// the relocations that would say what in it are addresses.
var ErrUnkept = errors.New("its code holds absolute addresses, and the file does not keep the relocations that tell them (ld --emit-relocs)")

// Unkept says why the addresses of a program at a fixed address are not known:
// ErrUnkept, or what disagrees in relocations that are there; nil when they are,
// and for position-independent images.
func (m *Image) Unkept() error { return m.unkept }

// KeptIn are the kept relocations of code with lo <= At < hi. The slice must not
// be written.
func (m *Image) KeptIn(lo, hi Addr) []Kept {
	i := m.keptBefore(lo)
	j := i + keptBelow(m.Kept[i:], hi)
	return m.Kept[i:j:j]
}

func (m *Image) keptBefore(a Addr) int { return keptBelow(m.Kept, a) }

func keptBelow(all []Kept, a Addr) int {
	i, _ := slices.BinarySearchFunc(all, a, func(k Kept, a Addr) int { return cmp.Compare(k.At, a) })
	return i
}

// Canonical is the PLT entry that stands for an imported function wherever its
// address is taken, in the whole process: programs at a fixed address say so by
// an undefined symbol with a value (psABI §4.4.3).
func (m *Image) Canonical(name, version string) (Addr, bool) {
	a, ok := m.canonical[Import{name, version}]
	return a, ok
}

// keeper reads the kept relocations of one file.
type keeper struct {
	m     *Image
	f     *file
	known map[Addr]bool // places that the loader fills
	slots map[Addr]Addr // of the GOT, filled by the link editor
	skip  Addr          // relocations before this one belong to a sequence that was rewritten
}

// readKept takes what --emit-relocs left. It cannot fail: what is wrong is known
// by Unkept.
func (m *Image) readKept(f *file) {
	if m.PIE {
		return
	}
	m.canonical = map[Import]Addr{}
	for i := range f.dynsym {
		if s := &f.dynsym[i]; !s.defined && !s.absolute && s.Addr != 0 {
			setImport(m.canonical, s.Name, s.Version, s.Addr)
		}
	}
	k := &keeper{m: m, f: f, known: map[Addr]bool{}, slots: map[Addr]Addr{}}
	for i := range m.Relocs {
		k.known[m.Relocs[i].At] = true
	}
	before := len(m.Relocs)
	if m.unkept = k.read(); m.unkept != nil {
		m.Kept, m.Relocs = nil, m.Relocs[:before]
	}
}

func (k *keeper) read() error {
	has := map[uint32]bool{} // sections with relocations, by number
	for _, h := range k.f.sections {
		if h.Flags&elf.SHF_ALLOC != 0 || h.Type != elf.SHT_RELA && h.Type != elf.SHT_REL || uint64(h.Info) >= uint64(len(k.f.sections)) {
			continue
		}
		to := k.f.sections[h.Info]
		if !k.wanted(to) {
			continue
		}
		if h.Type == elf.SHT_REL {
			return fmt.Errorf("section %s: relocations without addends are not used on x86-64", h.Name)
		}
		has[h.Info] = true
		if err := k.section(h, to); err != nil {
			return fmt.Errorf("section %s: %w", h.Name, err)
		}
	}
	if len(has) == 0 {
		return ErrUnkept
	}
	slices.SortStableFunc(k.m.Kept, func(a, b Kept) int { return cmp.Compare(a.At, b.At) })
	for i := 1; i < len(k.m.Kept); i++ {
		if a, b := &k.m.Kept[i-1], &k.m.Kept[i]; a.At+Addr(a.Size()) > b.At {
			return fmt.Errorf("relocations at %#x and %#x overlap", uint64(a.At), uint64(b.At))
		}
	}
	for i, h := range k.f.sections {
		if k.wanted(h) && h.Type != elf.SHT_NOBITS && !has[uint32(i)] {
			if err := k.bare(h); err != nil {
				return fmt.Errorf("section %s: %w", h.Name, err)
			}
		}
	}
	return nil
}

// wanted: a section that may hold addresses which matter. Unwind data is read
// for itself.
func (k *keeper) wanted(h *header) bool {
	if h.Flags&elf.SHF_ALLOC == 0 || h.Type == elf.SHT_NULL || h.Size == 0 {
		return false
	}
	switch classOf(h, k.f.segment(elf.PT_GNU_RELRO)) {
	case Text, ROData, RelRO, Data, Init:
		return true
	}
	return false
}

func (k *keeper) section(h, to *header) error {
	const relaSize = 24
	if l, err := k.f.linked(h, elf.SHT_SYMTAB); err != nil {
		return err
	} else if l != k.f.ofType(elf.SHT_SYMTAB) {
		return errors.New("it does not refer to the symbol table")
	}
	b, err := k.f.data(h)
	if err != nil {
		return err
	}
	if len(b)%relaSize != 0 {
		return fmt.Errorf("size %#x is no multiple of %d", len(b), relaSize)
	}
	code := classOf(to, k.f.segment(elf.PT_GNU_RELRO)) == Text
	for i := 0; i < len(b); i += relaSize {
		at, info, add := Addr(le.Uint64(b[i:])), le.Uint64(b[i+8:]), Addr(le.Uint64(b[i+16:]))
		if info>>32 >= uint64(len(k.f.symtab)) {
			return fmt.Errorf("relocation %d: symbol %d of %d", i/relaSize, info>>32, len(k.f.symtab))
		}
		if at < Addr(to.Addr) || at-Addr(to.Addr) >= Addr(to.Size) {
			return fmt.Errorf("relocation %d: address %#x is not in %s", i/relaSize, uint64(at), to.Name)
		}
		if err := k.take(at, elf.R_X86_64(uint32(info)), &k.f.symtab[info>>32], add, code); err != nil {
			return fmt.Errorf("%s at %#x (offset %#x): %w", to.Name, uint64(at), uint64(at)-to.Addr, err)
		}
	}
	return nil
}

// take holds one relocation against its field.
func (k *keeper) take(at Addr, t elf.R_X86_64, s *rawSymbol, add Addr, code bool) error {
	if at < k.skip {
		return nil
	}
	switch t {
	case elf.R_X86_64_NONE, elf.R_X86_64_SIZE32, elf.R_X86_64_SIZE64,
		elf.R_X86_64_TPOFF32, elf.R_X86_64_TPOFF64, elf.R_X86_64_GOTTPOFF, elf.R_X86_64_DTPOFF32, elf.R_X86_64_DTPOFF64,
		elf.R_X86_64_GOTPC32_TLSDESC, elf.R_X86_64_TLSDESC_CALL:
		return nil // numbers, or slots with numbers; the link editor rewrites their code
	case elf.R_X86_64_TLSGD, elf.R_X86_64_TLSLD:
		k.skip = at + 16 // with the call that belongs to it
		return nil
	case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S:
		return k.absolute(at, t, s, add, code)
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64:
		return k.distance(at, t, s, add, code)
	case elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX:
		return k.slot(at, t, s, add)
	}
	return fmt.Errorf("relocations of type %v are not understood", t)
}

// absolute is for fields that hold an address.
func (k *keeper) absolute(at Addr, t elf.R_X86_64, s *rawSymbol, add Addr, code bool) error {
	kept := Kept{At: at, Type: t}
	b := k.m.Bytes(at, kept.Size())
	if len(b) < kept.Size() {
		return errors.New("the field is beyond the end of the section")
	}
	var v Addr
	switch t {
	case elf.R_X86_64_64:
		v = Addr(le.Uint64(b))
	case elf.R_X86_64_32:
		v = Addr(le.Uint32(b))
	default:
		v = Addr(int64(int32(le.Uint32(b))))
	}
	if !code && k.known[at] {
		return nil // the loader fills it
	}
	switch {
	case s.Type == elf.STT_GNU_IFUNC && k.m.ClassAt(v) == PLT && add == 0:
	case v != s.Addr+add:
		return fmt.Errorf("it holds %#x, and its relocation says %#x (%s): the file was changed after it was linked", uint64(v), uint64(s.Addr+add), describe(s))
	case s.absolute, !s.defined && s.Addr == 0: // a number; a weak symbol that nobody defines
		return nil
	}
	if !code {
		if t != elf.R_X86_64_64 {
			return errors.New("addresses of 32 bits in data are not understood")
		}
		k.m.Relocs = append(k.m.Relocs, Reloc{At: at, Type: elf.R_X86_64_RELATIVE, Add: int64(v)})
		k.known[at] = true
		return nil
	}
	if v == 0 {
		return nil
	}
	kept.Target = v
	kept.Lo, kept.Hi = s.bounds()
	k.m.Kept = append(k.m.Kept, kept)
	return nil
}

// bounds are those of the variable or constant that s names, 0 when it is none.
func (s *rawSymbol) bounds() (lo, hi Addr) {
	if !s.defined || s.Type != elf.STT_OBJECT || s.Size == 0 || s.Addr+Addr(s.Size) < s.Addr {
		return 0, 0
	}
	return s.Addr, s.Addr + Addr(s.Size)
}

// distance is for fields that hold the distance to an address.
func (k *keeper) distance(at Addr, t elf.R_X86_64, s *rawSymbol, add Addr, code bool) error {
	to, ok := k.leads(at, t)
	if !ok {
		return errors.New("the field is beyond the end of the section")
	}
	switch {
	case s.defined && to == s.Addr+add, s.absolute:
	case !s.defined && s.Addr != 0 && to == s.Addr+add:
	case !s.defined && s.Addr == 0: // of a PLT entry, or of nothing (weak)
	case s.Type == elf.STT_GNU_IFUNC && k.m.ClassAt(to-add) == PLT:
	default:
		return fmt.Errorf("it leads to %#x, and its relocation says %#x (%s): the file was changed after it was linked", uint64(to), uint64(s.Addr+add), describe(s))
	}
	if code && t != elf.R_X86_64_PC64 {
		kept := Kept{At: at, Type: t}
		kept.Lo, kept.Hi = s.bounds()
		k.m.Kept = append(k.m.Kept, kept)
	}
	return nil
}

// leads is the place of a field plus the distance that it holds.
func (k *keeper) leads(at Addr, t elf.R_X86_64) (Addr, bool) {
	if t == elf.R_X86_64_PC64 {
		b := k.m.Bytes(at, 8)
		if len(b) < 8 {
			return 0, false
		}
		return at + Addr(le.Uint64(b)), true
	}
	b := k.m.Bytes(at, 4)
	if len(b) < 4 {
		return 0, false
	}
	return at + Addr(int64(int32(le.Uint32(b)))), true
}

// slot is for fields that lead to a slot of the GOT. What the loader does not
// fill holds what the link editor knew.
func (k *keeper) slot(at Addr, t elf.R_X86_64, s *rawSymbol, add Addr) error {
	to, ok := k.leads(at, t)
	if !ok {
		return errors.New("the field is beyond the end of the section")
	}
	to -= add
	if s.defined && to == s.Addr && k.m.ClassAt(to) != GOT { // gold has made lea of mov, and says nothing
		kept := Kept{At: at, Type: elf.R_X86_64_PC32}
		kept.Lo, kept.Hi = s.bounds()
		k.m.Kept = append(k.m.Kept, kept)
		return nil
	}
	b := k.m.Bytes(to, 8)
	if k.m.ClassAt(to) != GOT || len(b) < 8 {
		return fmt.Errorf("it leads to %#x, and its relocation to a slot of the GOT (%s): the file was changed after it was linked", uint64(to), describe(s))
	}
	k.m.Kept = append(k.m.Kept, Kept{At: at, Type: t})
	if !s.defined || k.known[to] {
		return nil
	}
	v := Addr(le.Uint64(b))
	if v != s.Addr && (s.Type != elf.STT_GNU_IFUNC || k.m.ClassAt(v) != PLT) {
		return fmt.Errorf("the slot at %#x holds %#x and not the address of %s", uint64(to), uint64(v), describe(s))
	}
	k.known[to] = true
	k.m.Relocs = append(k.m.Relocs, Reloc{At: to, Type: elf.R_X86_64_RELATIVE, Add: int64(v)})
	return nil
}

func describe(s *rawSymbol) string {
	if s.Name == "" {
		return fmt.Sprintf("section at %#x", uint64(s.Addr))
	}
	return s.Name
}

// bare judges a section without kept relocations: of code they have gone if it
// has any instructions to speak of, which is left to those who decode it; data
// must not look as if it held addresses.
func (k *keeper) bare(h *header) error {
	b, err := k.f.data(h)
	if err != nil || h.Flags&elf.SHF_EXECINSTR != 0 {
		return err
	}
	for o := -h.Addr & 7; o+8 <= uint64(len(b)); o += 8 {
		v, at := Addr(le.Uint64(b[o:])), Addr(h.Addr+o)
		if !k.known[at] && k.m.ClassAt(v) != None {
			return fmt.Errorf("at %#x (offset %#x) it holds %#x, which looks like an address, and no relocations of it were kept", uint64(at), o, uint64(v))
		}
	}
	return nil
}

// splitConstants gives tables of pointers among the constants the class that
// they have in position-independent images. Symbols bound them, and what
// nothing names ends where the next thing starts that anything refers to.
// Pointers into functions are switch tables, which stay with the constants.
func (m *Image) splitConstants(*file) error {
	if len(m.Kept) == 0 {
		return nil
	}
	starts := m.constantStarts()
	var all []*Section
	for _, s := range m.Sections {
		if s.Class != ROData || len(m.RelocsIn(s.Addr, s.end())) == 0 {
			all = append(all, s)
			continue
		}
		all = append(all, m.split(s, starts)...)
	}
	m.Sections = all
	m.mapped = m.mapped[:0]
	var keys []Addr
	for _, s := range all {
		if s.Size != 0 && (s.Class != TLS || s.Data != nil) {
			m.mapped = append(m.mapped, s)
			keys = append(keys, s.Addr)
		}
	}
	m.sectionIndex = NewIndex(keys)
	return nil
}

// constantStarts are the addresses among constants that anything refers to,
// sorted.
func (m *Image) constantStarts() []Addr {
	var out []Addr
	add := func(a Addr) {
		if m.ClassAt(a) == ROData {
			out = append(out, a)
		}
	}
	for i := range m.Kept {
		k := &m.Kept[i]
		if k.Absolute() {
			add(k.Target)
		} else if b := m.Bytes(k.At, 4); len(b) == 4 {
			// Where an immediate follows, some bytes before.
			add(k.At + 4 + Addr(int64(int32(le.Uint32(b)))))
		}
	}
	for i := range m.Relocs {
		if m.Relocs[i].Type == elf.R_X86_64_RELATIVE {
			add(Addr(m.Relocs[i].Add))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// split cuts a section of constants where its class changes.
func (m *Image) split(s *Section, starts []Addr) []*Section {
	var out []*Section
	add := func(lo, hi Addr, class Class) {
		if lo >= hi {
			return
		}
		if n := len(out); n > 0 && out[n-1].Class == class {
			out[n-1].Size += hi - lo
			out[n-1].Data = s.Data[out[n-1].Addr-s.Addr : hi-s.Addr]
			return
		}
		out = append(out, &Section{Name: s.Name, Addr: lo, Size: hi - lo, Align: s.Align, Class: class, Data: s.Data[lo-s.Addr : hi-s.Addr]})
	}
	at := s.Addr
	// unnamed cuts [at, to), where no symbol is.
	unnamed := func(to Addr) {
		i, _ := slices.BinarySearch(starts, at+1)
		for at < to {
			end := to
			for ; i < len(starts) && starts[i] < to; i++ {
				if r := m.RelocsIn(max(starts[i], 7)-7, starts[i]); len(r) == 0 {
					end = starts[i]
					i++
					break
				}
			}
			add(at, end, m.constantClass(at, end))
			at = end
		}
	}
	i := m.symbolIndex.Find(max(s.Addr, 1)-1) + 1
	for ; i < m.addressed && m.Symbols[i].Addr < s.end(); i++ {
		y := &m.Symbols[i]
		hi := y.Addr + Addr(y.Size)
		if y.Type != elf.STT_OBJECT || y.Size == 0 || hi > s.end() || hi < y.Addr || hi <= at {
			continue
		}
		unnamed(max(at, y.Addr))
		lo := at
		for ; i+1 < m.addressed && m.Symbols[i+1].Addr == y.Addr; i++ { // other names of it
			if z := &m.Symbols[i+1]; z.Type == elf.STT_OBJECT && z.Addr+Addr(z.Size) > hi && z.Addr+Addr(z.Size) <= s.end() {
				hi = z.Addr + Addr(z.Size)
			}
		}
		add(lo, hi, m.constantClass(lo, hi))
		at = hi
	}
	unnamed(s.end())
	return out
}

// constantClass is RelRO for what holds pointers, but not into functions.
func (m *Image) constantClass(lo, hi Addr) Class {
	all := m.RelocsIn(lo, hi)
	for i := range all {
		t := Addr(all[i].Add)
		if f := m.FuncAt(t); all[i].Type == elf.R_X86_64_RELATIVE && f != nil && f.Lo != t {
			return ROData
		}
	}
	if len(all) == 0 {
		return ROData
	}
	return RelRO
}
