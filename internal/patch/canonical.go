package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PageSize is the unit in which an object's span is populated.
const PageSize = 4096

// Limits of an object. MaxSections is below SHN_LORESERVE, so that no extended
// numbering is needed.
const (
	MaxSections = 0xff00 - 1 // sections, the six that are not chunks included
	MaxPages    = 1 << 16    // populated pages
	MaxSpan     = 1 << 31    // RWEnd - Lo: what a 32-bit distance can cross
	MaxAddr     = 1 << 47    // end of the user half of the address space
	MaxString   = 1 << 16    // bytes of a name or text
	MaxSymbols  = 1 << 20
	MaxNames    = 64 << 20 // bytes of all symbol names: many symbols may share one long name
	MaxRelocs   = 1 << 22
	MaxBuildID  = 64 // bytes of a build-id
)

// Page is a populated page of an object, by its object address.
type Page struct {
	Addr uint64
	Code bool // a Code chunk lies in it
}

// Fill is what the bytes of the page hold that belong to no chunk: int3 where
// there is code, so that nothing falls or jumps into them unnoticed; else zero.
func (p Page) Fill() byte {
	if p.Code {
		return 0xcc
	}
	return 0
}

// Pages lists the pages under the chunks, by address. The chunks must be
// sorted, as Check verifies.
func (o *Object) Pages() []Page {
	var pages []Page
	for i := range o.Chunks {
		c := &o.Chunks[i]
		for a := pageOf(c.Addr); a < c.end(); a += PageSize {
			if n := len(pages); n == 0 || pages[n-1].Addr != a {
				pages = append(pages, Page{Addr: a})
			}
			if c.Kind == Code {
				pages[len(pages)-1].Code = true
			}
		}
	}
	return pages
}

func pageOf(a uint64) uint64 { return a &^ (PageSize - 1) }

func (c *Chunk) end() uint64 { return c.Addr + uint64(len(c.Data)) }

// ChunkAt is the chunk that holds the byte at address a, nil when none does.
func (o *Object) ChunkAt(a uint64) *Chunk {
	i, _ := slices.BinarySearchFunc(o.Chunks, a, func(c Chunk, a uint64) int {
		if c.end() <= a {
			return -1
		}
		return 1
	})
	if i < len(o.Chunks) && o.Chunks[i].Addr <= a {
		return &o.Chunks[i]
	}
	return nil
}

// fillGap writes into dst, which is at address a, what its pages are filled with.
func fillGap(dst []byte, a uint64, pages []Page) {
	i, _ := slices.BinarySearchFunc(pages, pageOf(a), func(p Page, a uint64) int { return cmp.Compare(p.Addr, a) })
	for len(dst) > 0 {
		n := min(uint64(len(dst)), pages[i].Addr+PageSize-a)
		for k := range dst[:n] {
			dst[k] = pages[i].Fill()
		}
		dst, a = dst[n:], a+n
		i++
	}
}

// Canonical is the form that an object takes in a file; it links to the same
// bytes as o, which must satisfy Check, and shares memory with it.
//
//   - Neighbouring chunks of one kind become one when no unpopulated page lies
//     between them; the gap gets what its pages are filled with. So ten
//     thousand functions need a handful of sections.
//   - Symbols are sorted by kind, value, name, version, size; Relocs follow.
func (o *Object) Canonical() *Object {
	c := *o
	c.Chunks = mergeChunks(o.Chunks, o.Pages())

	order := make([]int, len(o.Symbols))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compareSymbols(&o.Symbols[a], &o.Symbols[b]) })
	c.Symbols = slices.Clone(o.Symbols)
	place := make([]int, len(order))
	for to, from := range order {
		c.Symbols[to] = o.Symbols[from]
		place[from] = to
	}
	c.Relocs = slices.Clone(o.Relocs)
	for i := range c.Relocs {
		if r := &c.Relocs[i]; r.Sym >= 0 {
			r.Sym = place[r.Sym]
		}
	}
	return &c
}

func compareSymbols(a, b *Symbol) int {
	f := 0
	if a.Func != b.Func {
		f = 1
		if b.Func {
			f = -1
		}
	}
	w := 0
	if a.Weak != b.Weak {
		w = 1
		if b.Weak {
			w = -1
		}
	}
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version), cmp.Compare(a.Size, b.Size), f, w)
}

func mergeChunks(chunks []Chunk, pages []Page) []Chunk {
	var out []Chunk
	for i := 0; i < len(chunks); {
		j := i + 1
		for j < len(chunks) && chunks[j].Kind == chunks[i].Kind &&
			pageOf(chunks[j].Addr) <= pageOf(chunks[j-1].end()-1)+PageSize {
			j++
		}
		out = append(out, joined(chunks[i:j], pages))
		i = j
	}
	return out
}

// joined is one chunk made of a run of them.
func joined(run []Chunk, pages []Page) Chunk {
	first, last := run[0], run[len(run)-1]
	if len(run) == 1 {
		return first
	}
	data := make([]byte, last.end()-first.Addr)
	at := first.Addr
	for _, c := range run {
		if c.Addr > at {
			fillGap(data[at-first.Addr:c.Addr-first.Addr], at, pages)
		}
		copy(data[c.Addr-first.Addr:], c.Data)
		at = c.end()
	}
	return Chunk{Kind: first.Kind, Addr: first.Addr, Data: data}
}

// Check verifies everything that the comments of Object promise. The error
// names the field.
func (o *Object) Check() error {
	if err := checkHex(o.BaseBuildID, 1, MaxBuildID); err != nil {
		return fmt.Errorf("base build-id: %w", err)
	}
	switch {
	case o.Lo%PageSize != 0 || o.Hi%PageSize != 0 || o.RWEnd%PageSize != 0:
		return fmt.Errorf("span %#x %#x %#x: not page aligned", o.Lo, o.Hi, o.RWEnd)
	case o.Lo >= o.Hi || o.Hi > o.RWEnd || o.RWEnd > MaxAddr:
		return fmt.Errorf("span %#x %#x %#x: not in order", o.Lo, o.Hi, o.RWEnd)
	case o.RWEnd-o.Lo > MaxSpan:
		return fmt.Errorf("span %#x %#x %#x: larger than %#x", o.Lo, o.Hi, o.RWEnd, uint64(MaxSpan))
	}
	if err := o.checkChunks(); err != nil {
		return err
	}
	if err := o.checkLengths(); err != nil {
		return err
	}
	for i := range o.Symbols {
		if err := o.checkSymbol(&o.Symbols[i]); err != nil {
			return fmt.Errorf("symbol %d (%.80q): %w", i, o.Symbols[i].Name, err)
		}
	}
	return o.checkRelocs()
}

// checkLengths bounds symbols and relocations before anything walks them.
func (o *Object) checkLengths() error {
	switch {
	case len(o.Symbols) > MaxSymbols:
		return fmt.Errorf("symbols: %d, more than %d", len(o.Symbols), MaxSymbols)
	case len(o.Relocs) > MaxRelocs:
		return fmt.Errorf("relocations: %d, more than %d", len(o.Relocs), MaxRelocs)
	}
	names := 0
	for i := range o.Symbols {
		if names += len(o.Symbols[i].Name) + len(o.Symbols[i].Version); names > MaxNames {
			return fmt.Errorf("symbols: names of more than %d bytes", MaxNames)
		}
	}
	return nil
}

func (o *Object) checkChunks() error {
	end, pages, unwind := o.Lo, 0, uint64(0)
	lastPage := uint64(1) // no page has this address
	for i := range o.Chunks {
		c := &o.Chunks[i]
		hi := o.Hi
		if c.Kind == Var {
			end, hi = max(end, o.Hi), o.RWEnd
		}
		switch {
		case int(c.Kind) >= len(kinds):
			return fmt.Errorf("chunk %d at %#x: kind %d unknown", i, c.Addr, c.Kind)
		case len(c.Data) == 0:
			return fmt.Errorf("chunk %d at %#x: empty", i, c.Addr)
		case c.Addr < end:
			return fmt.Errorf("chunk %d at %#x: not in order, overlapping, or below its part of the span", i, c.Addr)
		case c.Addr > hi || uint64(len(c.Data)) > hi-c.Addr:
			return fmt.Errorf("chunk %d at %#x: %d bytes reach past %#x", i, c.Addr, len(c.Data), hi)
		case c.Kind == Unwind && (unwind != 0 || c.Addr == 0):
			return fmt.Errorf("chunk %d at %#x: second unwind chunk, or one at address 0", i, c.Addr)
		}
		if c.Kind == Unwind {
			unwind = c.Addr
		}
		end = c.end()
		last := pageOf(end - 1)
		pages += int((last-pageOf(c.Addr))/PageSize) + 1
		if pageOf(c.Addr) == lastPage {
			pages--
		}
		lastPage = last
	}
	if pages > MaxPages {
		return fmt.Errorf("chunks: %d pages, more than %d", pages, MaxPages)
	}
	if o.EHFrame != unwind {
		return fmt.Errorf("eh_frame %#x: the unwind chunk is at %#x", o.EHFrame, unwind)
	}
	return nil
}

// home is the index of the chunk that an address belongs to: the one that
// holds it, else the one that ends there; -1 when there is none.
func (o *Object) home(a uint64) int {
	i, found := slices.BinarySearchFunc(o.Chunks, a, func(c Chunk, a uint64) int { return cmp.Compare(c.Addr, a) })
	if found {
		return i
	}
	if i > 0 && a <= o.Chunks[i-1].end() {
		return i - 1
	}
	return -1
}

func (o *Object) checkSymbol(s *Symbol) error {
	if s.Name == "" {
		return errors.New("no name")
	}
	if err := checkText(s.Name, false); err != nil {
		return err
	}
	if err := checkText(s.Version, false); err != nil {
		return fmt.Errorf("version: %w", err)
	}
	if s.Kind != Import && (s.Version != "" || s.Weak) {
		return errors.New("version or weakness of a symbol that is no import")
	}
	switch s.Kind {
	case Internal:
		i := o.home(s.Value)
		if i < 0 {
			return fmt.Errorf("value %#x: in no chunk", s.Value)
		}
		if c := &o.Chunks[i]; s.Size > c.end()-s.Value {
			return fmt.Errorf("size %#x at %#x: reaches past its chunk", s.Size, s.Value)
		}
	case Base:
		if s.Value >= MaxAddr || s.Size >= MaxAddr {
			return fmt.Errorf("value %#x size %#x: no address", s.Value, s.Size)
		}
	case Import:
		if s.Value != 0 || s.Size != 0 {
			return errors.New("import with a value or a size")
		}
		if strings.Contains(s.Name+s.Version, "@") {
			return errors.New("@ in the name or version of an import")
		}
	default:
		return fmt.Errorf("kind %d unknown", s.Kind)
	}
	return nil
}

// Size is the number of bytes that a relocation of this type writes.
func (t RelocType) Size() uint64 {
	if t == Abs64 {
		return 8
	}
	return 4
}

func (o *Object) checkRelocs() error {
	end := uint64(0)
	for i := range o.Relocs {
		r := &o.Relocs[i]
		if r.At < end {
			return fmt.Errorf("relocation %d at %#x: not in order or overlapping", i, r.At)
		}
		if err := o.checkReloc(r); err != nil {
			return fmt.Errorf("relocation %d at %#x: %w", i, r.At, err)
		}
		end = r.At + r.Type.Size()
	}
	return nil
}

func (o *Object) checkReloc(r *Reloc) error {
	c := o.ChunkAt(r.At)
	switch {
	case r.Type > Abs32S:
		return fmt.Errorf("type %d unknown", r.Type)
	case c == nil || c.end()-r.At < r.Type.Size():
		return errors.New("field not inside one chunk")
	case r.Sym < -1 || r.Sym >= len(o.Symbols):
		return fmt.Errorf("symbol %d of %d", r.Sym, len(o.Symbols))
	case r.Sym < 0 && (r.Add < 0 || uint64(r.Add) < o.Lo || uint64(r.Add) > o.RWEnd):
		return fmt.Errorf("target %#x outside the span", uint64(r.Add))
	}
	return nil
}

// checkText refuses what could not be shown on a terminal as it is: control
// characters and bytes that are not UTF-8.
func checkText(s string, tab bool) error {
	if len(s) > MaxString {
		return fmt.Errorf("text of %d bytes, more than %d", len(s), MaxString)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%.80q: not UTF-8", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) && (r != '\t' || !tab) {
			return fmt.Errorf("%.80q: control character", s)
		}
	}
	return nil
}

// checkHex wants lower-case hex digits for lo to hi bytes.
func checkHex(s string, lo, hi int) error {
	if len(s)%2 != 0 || len(s) < 2*lo || len(s) > 2*hi {
		return fmt.Errorf("%.80q: %d hex digits", s, len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%.80q: not lower-case hex", s)
		}
	}
	return nil
}
