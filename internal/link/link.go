// Package link turns a patch object into the bytes to write, given where the
// base image is loaded and where the object's span goes. It is pure: build
// uses it for a trial, txn for the real thing.
package link

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"hotpatch/internal/arch"
	"hotpatch/internal/patch"
)

var (
	// ErrRange says that a distance does not fit into 32 bits: another place
	// for the span may do.
	ErrRange = errors.New("out of range")
	// ErrImport says that an import was not found in the process.
	ErrImport = errors.New("unknown import")
	// ErrUndefined is what a Lookup says of a symbol that nothing defines, as
	// opposed to one that it could not look for.
	ErrUndefined = errors.New("not defined")
)

// Place says where things are in one process (or in a trial).
type Place struct {
	Bias uint64 // run-time address minus file address of the base image
	Span uint64 // run-time address of the object's Lo; page aligned
}

// At is the run-time address of an object address. The read-write part follows
// the read-execute part without a gap.
func (p Place) At(o *patch.Object, addr uint64) uint64 { return p.Span + (addr - o.Lo) }

// Lookup finds the run-time address of an import.
type Lookup func(name, version string) (uint64, error)

// Write is a run of bytes for a run-time address.
type Write struct {
	Addr uint64
	Data []byte
}

// Span is how many bytes of address space the object needs, read-write part
// included; a multiple of the page size.
func Span(o *patch.Object) uint64 { return o.RWEnd - o.Lo }

// Run is a stretch [Lo, Hi) of populated pages, by object address.
type Run struct {
	Lo, Hi uint64
	Write  bool // in the read-write part
}

// Pages lists the populated pages of the object as maximal runs, by address.
// No run crosses the object's Hi, where the protection changes.
func Pages(o *patch.Object) []Run {
	var runs []Run
	for _, p := range o.Pages() {
		if n := len(runs); n > 0 && runs[n-1].Hi == p.Addr && p.Addr != o.Hi {
			runs[n-1].Hi += patch.PageSize
			continue
		}
		runs = append(runs, Run{p.Addr, p.Addr + patch.PageSize, p.Addr >= o.Hi})
	}
	return runs
}

// Link relocates o for p. The writes are by address, one for each of the runs
// of Pages, hence no two in the same page; unused bytes of a page that holds
// code are int3, of other pages zero. Errors name the symbol and the field:
// ErrRange, ErrImport.
func Link(o *patch.Object, p Place, imports Lookup) ([]Write, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("link object: %w", err)
	}
	if err := p.check(o); err != nil {
		return nil, fmt.Errorf("link object: %w", err)
	}
	l := &linker{o: o, p: p, imports: imports, runs: Pages(o), found: map[int]uint64{}}
	l.populate()
	if err := l.relocate(); err != nil {
		return nil, fmt.Errorf("link object: %w", err)
	}
	return l.writes, nil
}

func (p Place) check(o *patch.Object) error {
	if p.Span%patch.PageSize != 0 {
		return fmt.Errorf("span at %#x: not page aligned", p.Span)
	}
	if p.Span > patch.MaxAddr || Span(o) > patch.MaxAddr-p.Span {
		return fmt.Errorf("span at %#x: %d bytes reach past the user address space", p.Span, Span(o))
	}
	return nil
}

type linker struct {
	o       *patch.Object
	p       Place
	imports Lookup
	runs    []Run
	writes  []Write // parallel to runs
	found   map[int]uint64
}

// populate lays out fill and chunks.
func (l *linker) populate() {
	pages := l.o.Pages()
	chunks := l.o.Chunks
	for _, r := range l.runs {
		data := make([]byte, r.Hi-r.Lo)
		for ; len(pages) > 0 && pages[0].Addr < r.Hi; pages = pages[1:] {
			at := pages[0].Addr - r.Lo
			fill(data[at:at+patch.PageSize], pages[0].Fill())
		}
		for ; len(chunks) > 0 && chunks[0].Addr < r.Hi; chunks = chunks[1:] {
			copy(data[chunks[0].Addr-r.Lo:], chunks[0].Data)
		}
		l.writes = append(l.writes, Write{l.p.At(l.o, r.Lo), data})
	}
}

func fill(b []byte, v byte) {
	if v == 0 {
		return
	}
	for i := range b {
		b[i] = v
	}
}

func (l *linker) relocate() error {
	run := 0
	for i := range l.o.Relocs {
		r := &l.o.Relocs[i]
		s, err := l.symbol(r.Sym)
		if err != nil {
			return fmt.Errorf("field at %#x: %s: %w", r.At, l.name(r), err)
		}
		a := uint64(r.Add)
		if s == 0 && r.Sym >= 0 && l.o.Symbols[r.Sym].Kind == patch.Import && r.Type != patch.Abs64 {
			return fmt.Errorf("field at %#x: %s: nothing defines it: %w", r.At, l.name(r), ErrImport)
		}
		if r.Sym < 0 {
			s, a = l.p.At(l.o, a), 0
		}
		for l.runs[run].Hi <= r.At {
			run++ // fields are by address and lie inside chunks, hence inside a run
		}
		field := l.writes[run].Data[r.At-l.runs[run].Lo:]
		switch v := s + a; r.Type {
		case patch.Abs64:
			binary.LittleEndian.PutUint64(field, v)
			continue
		case patch.Abs32, patch.Abs32S:
			if r.Type == patch.Abs32 && v != uint64(uint32(v)) || r.Type == patch.Abs32S && v != uint64(int64(int32(v))) {
				return fmt.Errorf("field at %#x: %s: address %#x does not fit into 32 bits: %w", r.At, l.name(r), v, ErrRange)
			}
			binary.LittleEndian.PutUint32(field, uint32(v))
			continue
		}
		d := int64(s + a - l.p.At(l.o, r.At))
		if d != int64(int32(d)) {
			return fmt.Errorf("field at %#x: %s: distance %d: %w", r.At, l.name(r), d, ErrRange)
		}
		binary.LittleEndian.PutUint32(field, uint32(d))
	}
	return nil
}

// symbol is the run-time address of a symbol; every import is asked for once.
func (l *linker) symbol(i int) (uint64, error) {
	if i < 0 {
		return 0, nil
	}
	s := &l.o.Symbols[i]
	switch s.Kind {
	case patch.Internal:
		return l.p.At(l.o, s.Value), nil
	case patch.Base:
		return l.p.Bias + s.Value, nil
	}
	if v, ok := l.found[i]; ok {
		return v, nil
	}
	if l.imports == nil {
		return 0, ErrImport
	}
	v, err := l.imports(s.Name, s.Version)
	if s.Weak && errors.Is(err, ErrUndefined) {
		l.found[i] = 0 // what the dynamic linker makes of it (gABI, "Symbol Table")
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrImport, err)
	}
	if v == 0 {
		return 0, fmt.Errorf("%w: address 0", ErrImport)
	}
	l.found[i] = v
	return v, nil
}

// name says what a relocation refers to, for messages.
func (l *linker) name(r *patch.Reloc) string {
	if r.Sym < 0 {
		return fmt.Sprintf("object address %#x", uint64(r.Add))
	}
	s := &l.o.Symbols[r.Sym]
	switch {
	case s.Kind == patch.Base:
		return fmt.Sprintf("symbol base:%s (%#x)", s.Name, s.Value)
	case s.Version != "":
		return "symbol " + s.Name + "@" + s.Version
	}
	return "symbol " + s.Name
}

// JumpSize is the length of the jump that an entry gets: jmp rel32.
const JumpSize = arch.JumpSize

// Entry is the jump to write at one site.
type Entry struct {
	Addr     uint64 // run-time address of the 5 bytes
	Old, New [JumpSize]byte
	Site     int // index into Image.Sites
}

// Entries computes the jumps of an image's sites. Refused (error): a distance
// over 2 GiB, a jump that crosses a page.
func Entries(img *patch.Image, o *patch.Object, p Place) ([]Entry, error) {
	if err := p.check(o); err != nil {
		return nil, fmt.Errorf("link entries: %w", err)
	}
	entries := make([]Entry, 0, len(img.Sites))
	for i := range img.Sites {
		s := &img.Sites[i]
		e, err := entry(s, o, p)
		if err != nil {
			return nil, fmt.Errorf("link entries: site %s at %#x: %w", s.Name, s.Base, err)
		}
		e.Site = i
		entries = append(entries, e)
	}
	return entries, nil
}

func entry(s *patch.Site, o *patch.Object, p Place) (Entry, error) {
	e := Entry{Addr: p.Bias + s.Base + s.Jump}
	old, err := hex.DecodeString(s.Old)
	if err != nil || len(old) != JumpSize {
		return e, fmt.Errorf("old bytes %.20q: not %d bytes of hex", s.Old, JumpSize)
	}
	copy(e.Old[:], old)
	switch {
	case s.To < o.Lo || s.To >= o.Hi:
		return e, fmt.Errorf("target %#x: outside the object", s.To)
	case e.Addr > patch.MaxAddr-JumpSize:
		return e, fmt.Errorf("entry at %#x: outside the user address space", e.Addr)
	case e.Addr%patch.PageSize > patch.PageSize-JumpSize:
		return e, fmt.Errorf("entry at %#x: the jump crosses a page", e.Addr)
	}
	if e.New, err = arch.Jump(e.Addr, p.At(o, s.To)); err != nil {
		return e, fmt.Errorf("entry at %#x: %w: %w", e.Addr, ErrRange, err)
	}
	return e, nil
}
