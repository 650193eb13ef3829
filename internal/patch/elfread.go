package patch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// DecodeObject reads what Encode wrote and nothing else: it collects chunks,
// symbols and relocations with every bound checked, and then wants the
// encoding of the result to be data again. The object refers to data, which
// must not change while the object is in use. Errors name the part of the file.
func DecodeObject(data []byte) (*Object, error) {
	o, err := decodeObject(data)
	if err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	return o, nil
}

func decodeObject(data []byte) (*Object, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxFile)
	}
	f, err := readSections(data)
	if err != nil {
		return nil, err
	}
	o := &Object{}
	for _, read := range [...]func(*file, *Object) error{
		(*file).readNote, (*file).readChunks, (*file).readSymbols, (*file).readRelocs,
	} {
		if err := read(f, o); err != nil {
			return nil, err
		}
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	l, err := newLayout(o.Canonical())
	if err != nil {
		return nil, err
	}
	again := l.bytes()
	if off := firstDifference(data, again); off >= 0 {
		return nil, fmt.Errorf("not the canonical encoding: %s, offset %#x", l.part(uint64(off)), off)
	}
	return o, nil
}

// firstDifference is the offset of the first byte that differs, -1 for none.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// file is an object file being read: its sections, without the null section.
type file struct {
	sections []section
	chunks   int // how many of them are chunks
}

func readSections(data []byte) (*file, error) {
	if len(data) < ehdrSize {
		return nil, fmt.Errorf("ELF header: %d bytes of %d", len(data), ehdrSize)
	}
	if string(data[:len(identity)]) != identity {
		return nil, errors.New("ELF header: not an ELF64 x86-64 shared object")
	}
	shoff, num := le.Uint64(data[40:]), int(le.Uint16(data[60:]))
	switch {
	case num < numMeta+1 || num > MaxSections:
		return nil, fmt.Errorf("e_shnum: %d sections", num)
	case shoff > uint64(len(data)) || uint64(num*shdrSize) > uint64(len(data))-shoff:
		return nil, fmt.Errorf("e_shoff: %d section headers at %#x reach past the end", num, shoff)
	}
	f := &file{sections: make([]section, num-1), chunks: num - 1 - numMeta}
	table := data[shoff:]
	for i := range f.sections {
		s := &f.sections[i]
		h := table[(i+1)*shdrSize:]
		*s = section{nameOff: le.Uint32(h), typ: le.Uint32(h[4:]), flags: le.Uint64(h[8:]), addr: le.Uint64(h[16:]),
			off: le.Uint64(h[24:]), size: le.Uint64(h[32:])}
		if s.off > uint64(len(data)) || s.size > uint64(len(data))-s.off {
			return nil, fmt.Errorf("section header %d: %d bytes at %#x reach past the end", i+1, s.size, s.off)
		}
		s.data = data[s.off : s.off+s.size : s.off+s.size]
	}
	return f, f.nameSections()
}

func (f *file) meta(i int) *section { return &f.sections[f.chunks+i] }

func (f *file) nameSections() error {
	for i := range f.sections {
		s := &f.sections[i]
		name, err := cString(f.meta(secShstrtab).data, s.nameOff, maxSectionName)
		if err != nil {
			return fmt.Errorf("section header %d: sh_name: %w", i+1, err)
		}
		s.name = name
		if i >= f.chunks && name != metaNames[i-f.chunks] {
			return fmt.Errorf("section header %d: %.80q instead of %s", i+1, name, metaNames[i-f.chunks])
		}
	}
	return nil
}

// maxSectionName is more than the longest section name needs; strings of a
// table can be shared, so that bounding the table does not bound their sum.
const maxSectionName = 32

func cString(table []byte, off uint32, limit int) (string, error) {
	if uint64(off) >= uint64(len(table)) {
		return "", fmt.Errorf("string offset %#x outside its table", off)
	}
	rest := table[off:]
	n := bytes.IndexByte(rest[:min(len(rest), limit+1)], 0)
	if n < 0 {
		return "", fmt.Errorf("string at %#x does not end within %d bytes", off, limit)
	}
	return string(rest[:n]), nil
}

func (f *file) readNote(o *Object) error {
	data := f.meta(secNote).data
	id, rest, err := readNote(data, noteBuildID)
	if err != nil {
		return err
	}
	span, _, err := readNote(rest, noteSpan)
	if err != nil {
		return err
	}
	if len(span) != spanSize {
		return fmt.Errorf("%s: type %d: %d bytes", metaNames[secNote], noteSpan, len(span))
	}
	o.BaseBuildID = hex.EncodeToString(id)
	for i, p := range [...]*uint64{&o.Lo, &o.Hi, &o.RWEnd, &o.EHFrame} {
		*p = le.Uint64(span[8*i:])
	}
	return nil
}

// readNote takes one note of the given type from the front of data.
func readNote(data []byte, typ uint32) (desc, rest []byte, err error) {
	const head = 12 + (len(noteOwner)+1+3)&^3
	bad := func(what string) ([]byte, []byte, error) {
		return nil, nil, fmt.Errorf("%s: type %d: %s", metaNames[secNote], typ, what)
	}
	if len(data) < head {
		return bad("truncated")
	}
	size := le.Uint32(data[4:])
	if le.Uint32(data) != uint32(len(noteOwner)+1) || le.Uint32(data[8:]) != typ ||
		string(data[12:12+len(noteOwner)]) != noteOwner {
		return bad("another owner or type")
	}
	data = data[head:]
	padded := (uint64(size) + 3) &^ 3
	if padded > uint64(len(data)) {
		return bad("truncated")
	}
	return data[:size], data[padded:], nil
}

func (f *file) readChunks(o *Object) error {
	if f.chunks > 0 {
		o.Chunks = make([]Chunk, f.chunks)
	}
	for i := range o.Chunks {
		s := &f.sections[i]
		kind, ok := kindOf(s)
		if !ok {
			return fmt.Errorf("section header %d: %.80q with type %d, flags %#x is no chunk", i+1, s.name, s.typ, s.flags)
		}
		o.Chunks[i] = Chunk{Kind: kind, Addr: s.addr, Data: s.data}
	}
	return nil
}

func kindOf(s *section) (ChunkKind, bool) {
	for k := range kinds {
		if s.typ == shtProgbits && s.flags == kinds[k].flags && strings.HasPrefix(s.name, kinds[k].name) {
			return ChunkKind(k), true
		}
	}
	return 0, false
}

func (f *file) readSymbols(o *Object) error {
	data, names := f.meta(secSymtab).data, f.meta(secStrtab).data
	if len(data) < symSize || len(data)%symSize != 0 {
		return fmt.Errorf(".symtab: %d bytes", len(data))
	}
	n := len(data)/symSize - 1
	if n > MaxSymbols {
		return fmt.Errorf(".symtab: %d symbols, more than %d", n, MaxSymbols)
	}
	if n > 0 {
		o.Symbols = make([]Symbol, n)
	}
	total := 0
	for i := range o.Symbols {
		e := data[(i+1)*symSize:]
		name, err := cString(names, le.Uint32(e), len(basePrefix)+2*MaxString+1)
		if err != nil {
			return fmt.Errorf(".symtab: symbol %d: st_name: %w", i, err)
		}
		// Prefixes and @ count here but not in checkLengths: allow for them.
		if total += len(name); total > MaxNames+n*(len(basePrefix)+1) {
			return fmt.Errorf(".symtab: names of more than %d bytes", MaxNames)
		}
		s := &o.Symbols[i]
		*s = Symbol{Name: name, Value: le.Uint64(e[8:]), Size: le.Uint64(e[16:]), Func: e[4]&0xf == sttFunc}
		switch le.Uint16(e[6:]) {
		case 0:
			s.Kind, s.Weak = Import, e[4]>>4 == stbWeak>>4
			s.Name, s.Version, _ = strings.Cut(name, "@")
		case shnAbs:
			s.Kind = Base
			var ok bool
			if s.Name, ok = strings.CutPrefix(name, basePrefix); !ok {
				return fmt.Errorf(".symtab: symbol %d: absolute without %q", i, basePrefix)
			}
		}
	}
	return nil
}

func (f *file) readRelocs(o *Object) error {
	data := f.meta(secRela).data
	if len(data)%relaSize != 0 {
		return fmt.Errorf(".rela.hotpatch: %d bytes", len(data))
	}
	n := len(data) / relaSize
	if n > MaxRelocs {
		return fmt.Errorf(".rela.hotpatch: %d relocations, more than %d", n, MaxRelocs)
	}
	if n > 0 {
		o.Relocs = make([]Reloc, n)
	}
	for i := range o.Relocs {
		e := data[i*relaSize:]
		info := le.Uint64(e[8:])
		r := Reloc{At: le.Uint64(e), Sym: int(info>>32) - 1, Add: int64(le.Uint64(e[16:]))}
		switch typ := uint32(info); typ {
		case relocPC32:
			r.Type = PC32
		case relocAbs32:
			r.Type = Abs32
		case relocAbs32S:
			r.Type = Abs32S
		case relocAbs64, relocRelative:
			r.Type = Abs64
			if (typ == relocRelative) != (r.Sym < 0) {
				return fmt.Errorf(".rela.hotpatch: relocation %d: type %d with symbol %d", i, typ, r.Sym+1)
			}
		default:
			return fmt.Errorf(".rela.hotpatch: relocation %d: type %d unknown", i, typ)
		}
		o.Relocs[i] = r
	}
	return nil
}

// part names what a file offset belongs to, for messages.
func (l *layout) part(off uint64) string {
	switch {
	case off < ehdrSize:
		return "ELF header"
	case off < uint64(ehdrSize+phdrSize*len(l.segments)):
		return fmt.Sprintf("program header %d", (off-ehdrSize)/phdrSize)
	case off >= l.shoff && off < l.shoff+uint64(shdrSize*(len(l.sections)+1)):
		return fmt.Sprintf("section header %d", (off-l.shoff)/shdrSize)
	case off >= l.shoff:
		return "end of file"
	}
	for i := range l.sections {
		if s := &l.sections[i]; off >= s.off && off < s.off+s.size {
			return s.name
		}
	}
	return "padding"
}
