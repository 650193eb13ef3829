package patch

import (
	"encoding/binary"
	"fmt"
)

// ELF constants that the encoder and the decoder share (gABI 4.1, x86-64 psABI
// 1.0). Sizes are of ELF64.
const (
	ehdrSize = 64
	phdrSize = 56
	shdrSize = 64
	symSize  = 24
	relaSize = 24

	shtProgbits = 1
	shtSymtab   = 2
	shtStrtab   = 3
	shtRela     = 4
	shtNote     = 7

	shfWrite = 1
	shfAlloc = 2
	shfExec  = 4

	shnAbs = 0xfff1

	sttNotype = 0
	sttObject = 1
	sttFunc   = 2
	stbGlobal = 1 << 4
	stbWeak   = 2 << 4

	relocAbs64    = 1  // R_X86_64_64
	relocPC32     = 2  // R_X86_64_PC32
	relocRelative = 8  // R_X86_64_RELATIVE
	relocAbs32    = 10 // R_X86_64_32
	relocAbs32S   = 11 // R_X86_64_32S
)

// identity is the start of every object up to e_version: ELF64, little endian,
// System V, ET_DYN, EM_X86_64.
const identity = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x03\x00" + "\x3e\x00" + "\x01\x00\x00\x00"

// kinds says which section carries a chunk. A name that ends in a dot is
// followed by the section's number among its kind, from 0.
var kinds = [...]struct {
	name  string
	flags uint64
}{
	Code:   {".text.", shfAlloc | shfExec},
	Const:  {".rodata.", shfAlloc},
	Table:  {".data.rel.ro.", shfAlloc},
	Unwind: {".eh_frame", shfAlloc},
	Var:    {".data.", shfAlloc | shfWrite},

	Handlers: {".gcc_except_table.", shfAlloc},
}

// The sections behind the chunks, in this order.
const (
	secNote = iota
	secRela
	secSymtab
	secStrtab
	secShstrtab
	numMeta
)

var metaNames = [numMeta]string{".note.hotpatch.base", ".rela.hotpatch", ".symtab", ".strtab", ".shstrtab"}

// The note section holds two notes of this owner.
const (
	noteOwner   = "hotpatch"
	noteBuildID = 1 // the base image's build-id, raw
	noteSpan    = 2 // Lo, Hi, RWEnd, EHFrame: 8 bytes each, little endian
	spanSize    = 4 * 8
)

var le = binary.LittleEndian

// section is a section header to be.
type section struct {
	name             string
	typ              uint32
	flags, addr, off uint64
	size             uint64
	link, info       uint32
	align, entry     uint64
	nameOff          uint32
	data             []byte
}

func (s *section) append(b []byte) []byte {
	b = le.AppendUint32(b, s.nameOff)
	b = le.AppendUint32(b, s.typ)
	for _, v := range [...]uint64{s.flags, s.addr, s.off, s.size} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, s.link)
	b = le.AppendUint32(b, s.info)
	b = le.AppendUint64(b, s.align)
	return le.AppendUint64(b, s.entry)
}

// segment is a run of populated pages: chunks first to last of the object.
type segment struct {
	first, last int
	write       bool
	off         uint64
}

// layout is where everything of an object goes in its file.
type layout struct {
	o        *Object // canonical
	pages    []Page
	segments []segment
	sections []section // chunks, then the meta sections; without the null section
	shoff    uint64
}

// Encode writes the object as ELF: same object, same bytes. What it writes is
// the canonical form (see Canonical). Errors name the field at fault.
func (o *Object) Encode() ([]byte, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	l, err := newLayout(o.Canonical())
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	return l.bytes(), nil
}

func newLayout(o *Object) (*layout, error) {
	l := &layout{o: o, pages: o.Pages()}
	if n := len(o.Chunks) + numMeta + 1; n > MaxSections {
		return nil, fmt.Errorf("%d sections, more than %d", n, MaxSections)
	}
	l.segments = segmentsOf(o)
	off := uint64(ehdrSize + phdrSize*len(l.segments))
	l.sections = make([]section, len(o.Chunks), len(o.Chunks)+numMeta)
	var count [len(kinds)]int
	for i := range l.segments {
		g := &l.segments[i]
		// gABI: p_vaddr and p_offset are congruent modulo the page size.
		start := o.Chunks[g.first].Addr
		off += (start - off) % PageSize
		g.off = off
		for k := g.first; k <= g.last; k++ {
			c := &o.Chunks[k]
			kind := kinds[c.Kind]
			name := kind.name
			if c.Kind != Unwind {
				name = fmt.Sprint(name, count[c.Kind])
				count[c.Kind]++
			}
			l.sections[k] = section{name: name, typ: shtProgbits, flags: kind.flags, addr: c.Addr,
				off: off + c.Addr - start, size: uint64(len(c.Data)), align: 1}
		}
		off += o.Chunks[g.last].end() - start
	}
	l.addMeta(off)
	if end := l.shoff + uint64(shdrSize*(len(l.sections)+1)); end > MaxFile {
		return nil, fmt.Errorf("%d bytes, more than %d", end, MaxFile)
	}
	return l, nil
}

// segmentsOf groups the chunks by runs of populated pages; none crosses Hi.
func segmentsOf(o *Object) []segment {
	var out []segment
	for i := range o.Chunks {
		c := &o.Chunks[i]
		if n := len(out); n > 0 {
			g := &out[n-1]
			prev := &o.Chunks[i-1]
			if g.write == (c.Kind == Var) && pageOf(c.Addr) <= pageOf(prev.end()-1)+PageSize {
				g.last = i
				continue
			}
		}
		out = append(out, segment{first: i, last: i, write: c.Kind == Var})
	}
	return out
}

// addMeta lays the sections out that are about the chunks, from offset off.
func (l *layout) addMeta(off uint64) {
	symtab := uint32(len(l.o.Chunks) + secSymtab + 1)
	strtab := newStrings()
	symbols, locals := l.symtab(strtab)
	meta := [numMeta]section{
		secNote:     {typ: shtNote, align: 4, data: l.note()},
		secRela:     {typ: shtRela, align: 8, entry: relaSize, link: symtab, data: l.rela()},
		secSymtab:   {typ: shtSymtab, align: 8, entry: symSize, link: symtab + 1, info: locals, data: symbols},
		secStrtab:   {typ: shtStrtab, align: 1, data: strtab.data},
		secShstrtab: {typ: shtStrtab, align: 1},
	}
	for i := range meta {
		meta[i].name = metaNames[i]
	}
	l.sections = append(l.sections, meta[:]...)
	names := newStrings()
	for i := range l.sections {
		l.sections[i].nameOff = names.add(l.sections[i].name)
	}
	l.sections[len(l.sections)-1].data = names.data
	for i := len(l.o.Chunks); i < len(l.sections); i++ {
		s := &l.sections[i]
		off += -off % s.align
		s.off, s.size = off, uint64(len(s.data))
		off += s.size
	}
	l.shoff = off + -off%8
}

func (l *layout) note() []byte {
	id := l.o.BaseBuildID
	raw := make([]byte, len(id)/2)
	for i := range raw {
		raw[i] = unhex(id[2*i])<<4 | unhex(id[2*i+1])
	}
	b := appendNote(nil, noteBuildID, raw)
	var span []byte
	for _, v := range [...]uint64{l.o.Lo, l.o.Hi, l.o.RWEnd, l.o.EHFrame} {
		span = le.AppendUint64(span, v)
	}
	return appendNote(b, noteSpan, span)
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func appendNote(b []byte, typ uint32, desc []byte) []byte {
	b = le.AppendUint32(b, uint32(len(noteOwner)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, typ)
	for _, part := range [...][]byte{[]byte(noteOwner + "\x00"), desc} {
		b = append(b, part...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// symtab returns the symbol table and its number of local symbols. Imports are
// global, the others local (their names may repeat); the canonical order has
// imports last, as the gABI wants it.
func (l *layout) symtab(names *stringTable) (data []byte, locals uint32) {
	data = make([]byte, symSize, symSize*(len(l.o.Symbols)+1))
	locals = 1
	for i := range l.o.Symbols {
		s := &l.o.Symbols[i]
		name, info, shndx := s.Name, byte(sttNotype), uint16(0)
		switch s.Kind {
		case Internal:
			shndx = uint16(l.o.home(s.Value) + 1)
		case Base:
			name, shndx = basePrefix+s.Name, shnAbs
		case Import:
			info = stbGlobal
			if s.Weak {
				info = stbWeak
			}
			if s.Version != "" {
				name += "@" + s.Version
			}
		}
		if s.Kind != Import {
			locals++
		}
		info |= symType(s)
		data = le.AppendUint32(data, names.add(name))
		data = append(data, info, 0)
		data = le.AppendUint16(data, shndx)
		data = le.AppendUint64(data, s.Value)
		data = le.AppendUint64(data, s.Size)
	}
	return data, locals
}

const basePrefix = "base:"

func symType(s *Symbol) byte {
	switch {
	case s.Func:
		return sttFunc
	case s.Size > 0:
		return sttObject
	}
	return sttNotype
}

func (l *layout) rela() []byte {
	data := make([]byte, 0, relaSize*len(l.o.Relocs))
	for _, r := range l.o.Relocs {
		typ := uint64(relocPC32)
		switch {
		case r.Type == Abs64 && r.Sym < 0:
			typ = relocRelative
		case r.Type == Abs64:
			typ = relocAbs64
		case r.Type == Abs32:
			typ = relocAbs32
		case r.Type == Abs32S:
			typ = relocAbs32S
		}
		data = le.AppendUint64(data, r.At)
		data = le.AppendUint64(data, uint64(r.Sym+1)<<32|typ)
		data = le.AppendUint64(data, uint64(r.Add))
	}
	return data
}

// bytes writes the file. Between chunks of one segment is what their pages are
// filled with; all other padding is zero.
func (l *layout) bytes() []byte {
	out := make([]byte, l.shoff, l.shoff+uint64(shdrSize*(len(l.sections)+1)))
	copy(out, l.ehdr())
	for i := range l.segments {
		g := &l.segments[i]
		copy(out[ehdrSize+i*phdrSize:], l.phdr(g))
		at := l.o.Chunks[g.first].Addr
		for k := g.first; k <= g.last; k++ {
			c, off := &l.o.Chunks[k], l.sections[k].off
			if c.Addr > at {
				fillGap(out[off-(c.Addr-at):off], at, l.pages)
			}
			copy(out[off:], c.Data)
			at = c.end()
		}
	}
	for i := len(l.o.Chunks); i < len(l.sections); i++ {
		copy(out[l.sections[i].off:], l.sections[i].data)
	}
	out = append(out, make([]byte, shdrSize)...)
	for i := range l.sections {
		out = l.sections[i].append(out)
	}
	return out
}

func (l *layout) ehdr() []byte {
	b := []byte(identity)
	b = le.AppendUint64(b, 0) // e_entry
	phoff := uint64(ehdrSize)
	if len(l.segments) == 0 {
		phoff = 0
	}
	b = le.AppendUint64(b, phoff)
	b = le.AppendUint64(b, l.shoff)
	b = le.AppendUint32(b, 0) // e_flags
	n := len(l.sections) + 1
	for _, v := range [...]int{ehdrSize, phdrSize, len(l.segments), shdrSize, n, n - 1} {
		b = le.AppendUint16(b, uint16(v))
	}
	return b
}

func (l *layout) phdr(g *segment) []byte {
	addr := l.o.Chunks[g.first].Addr
	size := l.o.Chunks[g.last].end() - addr
	flags := uint32(5) // PF_R|PF_X: the whole of [Lo, Hi) is mapped so
	if g.write {
		flags = 6 // PF_R|PF_W
	}
	b := le.AppendUint32(nil, 1) // PT_LOAD
	b = le.AppendUint32(b, flags)
	for _, v := range [...]uint64{g.off, addr, addr, size, size, PageSize} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// stringTable collects NUL-terminated strings, each once.
type stringTable struct {
	data  []byte
	index map[string]uint32
}

func newStrings() *stringTable {
	return &stringTable{data: []byte{0}, index: map[string]uint32{"": 0}}
}

func (t *stringTable) add(s string) uint32 {
	if i, ok := t.index[s]; ok {
		return i
	}
	i := uint32(len(t.data))
	t.index[s] = i
	t.data = append(append(t.data, s...), 0)
	return i
}
