package build

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// emitter turns the carried functions into an object.
//
// Everything carried stays at its address in the fixed image, so references
// among it hold as they are. Emission has two steps: first every reference is
// looked at, which finds what else to carry (constants, tables, variables,
// stubs) and what leaves the object; then the parts that had no place in the
// fixed image's read-execute span are placed behind it, and the fields that
// lead to them are rewritten.
type emitter struct {
	d       *diff.Diff
	c       *carrier
	reasons *reasons
	failed  map[*diff.Func]bool // functions with a refusal of their own
	now     *diff.Func          // the function being carried, nil: a table or variable

	chunks  []patch.Chunk
	symbols []patch.Symbol
	base    map[image.Addr]int        // Base symbols by value
	bound   map[image.Addr]image.Addr // variables that are accessed, by where they are in the base image
	imports map[image.Import]int
	copies  []*image.Reloc // the COPY relocations of the fixed image
	relocs  []patch.Reloc

	consts  span                // rodata to carry
	tables  span                // .data.rel.ro to carry
	stored  map[image.Addr]bool // slots of tables already written
	spread  map[image.Addr]bool // tables of distances already bound
	lost    bool                // a table of distances could not be bound
	fixups  []fixup
	settled map[image.Addr]bool // absolute fields
	stubs   []image.Import      // imports to call that the base image lacks
	slots   []slot              // GOT slots for the read-write part
	vars    []variable          // new variables
	varEnd  image.Addr          // end of the last one
	// varAlign is the alignment that the first of them needs, 0 without any.
	varAlign image.Addr
	h        handlers
	places   []image.Addr              // see labels, made when needed
	ifuncs   map[image.Addr]image.Addr // base PLT entries by GOT slot, read when needed
	walker   *diff.Walker              // made when needed
	loops    bool                      // see siter
	uses     []binding                 // variables that carried code uses
}

// What has no place in the fixed image's read-execute span is numbered in
// spaces far above all real addresses until its place is known.
const (
	refSpace  = image.Addr(1) << 51
	stubSpace = image.Addr(1) << 52
	slotSpace = image.Addr(1) << 53
	varSpace  = image.Addr(1) << 54
)

// fixup is a PC-relative field of what is carried that the builder rewrites.
type fixup struct {
	at   image.Addr // of the field
	tail image.Addr // from the field to the end of the instruction
	to   image.Addr // an address of the object, or in one of the spaces
	off  image.Addr // from there
	form diff.Form
}

// slot is a GOT slot that the base image lacks: of an import, or, for a local
// symbol, of the place in the fixed image.
type slot struct {
	imp   image.Import
	local image.Addr // of the fixed image
	base  image.Addr // of the base image
}

// variable is a run of new variables [lo, hi) of the fixed image; they keep
// their distances.
type variable struct {
	lo, hi image.Addr
	at     image.Addr // in varSpace
}

// binding is a variable of the fixed image and what it was bound to.
type binding struct {
	f  *diff.Func
	to image.Addr
	diff.Binding
}

func newEmitter(d *diff.Diff, c *carrier, r *reasons) *emitter {
	return &emitter{
		d: d, c: c, reasons: r,
		failed:  map[*diff.Func]bool{},
		base:    map[image.Addr]int{},
		bound:   map[image.Addr]image.Addr{},
		imports: map[image.Import]int{},
		copies:  copiesOf(d.Fixed),
		stored:  map[image.Addr]bool{},
		spread:  map[image.Addr]bool{},
		settled: map[image.Addr]bool{},
		varEnd:  varSpace,
	}
}

// refuse records why the function being carried (or f) cannot be.
func (e *emitter) refuse(code, format string, args ...any) {
	name := ""
	if e.now != nil {
		e.failed[e.now] = true
		name = label(e.d, e.now)
	}
	e.reasons.add(code, name, format, args...)
}

func (e *emitter) note(code, format string, args ...any) {
	name := ""
	if e.now != nil {
		name = label(e.d, e.now)
	}
	e.reasons.add(code, name, format, args...)
}

// carryAll looks at every chosen function and at what they bring.
func (e *emitter) carryAll() {
	for n := 0; n < len(e.c.list); n++ { // tables may bring new functions
		e.carry(e.c.list[n])
	}
	e.now = nil
	e.c.sort()
}

// sites makes the redirections: every carried function that the base image
// has, but for fragments, which are reached through their parents, and for
// equal functions that are only near enough for a short branch.
func (e *emitter) sites() []patch.Site {
	s := newSiter(e.d)
	var out []patch.Site
	for _, f := range e.c.list {
		if f.Fragment || e.d.BaseOf(f) == nil {
			continue
		}
		if state, _ := e.d.State(f); !e.c.all && state != diff.Changed {
			continue
		}
		e.now = f
		site, code, detail := s.site(f)
		if code != "" {
			e.refuse(code, "%s", detail)
			continue
		}
		out = append(out, site)
	}
	e.now, e.loops = nil, s.loops
	slices.SortFunc(out, func(a, b patch.Site) int { return cmp.Compare(a.Base, b.Base) })
	return out
}

// carry looks at one function.
func (e *emitter) carry(f *diff.Func) {
	e.now = f
	if f.Bad > 0 {
		e.refuse(undecodable, "%d bytes of it are no instructions that can be decoded", f.Bad)
		return
	}
	if len(e.d.Fixed.RelocsIn(f.Lo, f.Hi)) > 0 {
		e.refuse(textRelocation, "the loader relocates its code")
		return
	}
	if f.TLS && !sameTLS(e.d) {
		e.refuse(newTLS, "it uses thread-local storage, whose layout changed")
	}
	for k := range f.Refs {
		e.reference(f, k)
		if r := &f.Refs[k]; r.Form != diff.Relative && !e.settled[f.Lo+image.Addr(r.Field)] {
			e.redirect(f, r, r.Target) // it stays where it is, but the object goes elsewhere
		}
	}
	e.handle(f)
	e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Code, Addr: uint64(f.Lo), Data: slices.Clone(e.d.Fixed.Text(f))})
	e.symbols = append(e.symbols, patch.Symbol{Kind: patch.Internal, Name: label(e.d, f), Value: uint64(f.Lo), Size: f.Size(), Func: true})
}

// sameTLS: size, alignment and initial values of thread-local storage agree,
// and so do the places of variables in it, as far as they are known.
func sameTLS(d *diff.Diff) bool {
	a, b := d.Base, d.Fixed
	if a.TLSSize != b.TLSSize || a.TLSAlign != b.TLSAlign {
		return false
	}
	return d.SameTLSNames() && !d.ThreadsMoved()
}

// leave makes the field of r lead to an address of the base image.
func (e *emitter) leave(f *diff.Func, r *diff.Ref, to image.Addr, name string) {
	at := f.Lo + image.Addr(r.Field)
	if r.Form != diff.Relative {
		e.settled[at] = true
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: absolute[r.Form], Sym: e.baseSymbol(to, name), Add: int64(r.Off)})
		return
	}
	if r.Size != 4 {
		e.refuse(referenceUnbound, "the short branch at %#x leaves what is carried", uint64(f.Lo)+uint64(r.At))
		return
	}
	e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.PC32, Sym: e.baseSymbol(to, name), Add: int64(r.Off) - int64(r.Tail)})
}

// absolute are the relocations of fields that hold addresses.
var absolute = [...]patch.RelocType{diff.Abs32: patch.Abs32, diff.Abs32S: patch.Abs32S, diff.Abs64: patch.Abs64}

func (e *emitter) baseSymbol(a image.Addr, name string) int {
	if i, ok := e.base[a]; ok {
		return i
	}
	e.base[a] = len(e.symbols)
	e.symbols = append(e.symbols, patch.Symbol{Kind: patch.Base, Name: name, Value: uint64(a)})
	return e.base[a]
}

func (e *emitter) importSymbol(i image.Import) int {
	if n, ok := e.imports[i]; ok {
		return n
	}
	e.imports[i] = len(e.symbols)
	e.symbols = append(e.symbols, patch.Symbol{Kind: patch.Import, Name: i.Name, Version: i.Version, Weak: e.d.Fixed.WeakImport(i)})
	return e.imports[i]
}

// redirect makes the field of r lead to what the object brings.
func (e *emitter) redirect(f *diff.Func, r *diff.Ref, to image.Addr) {
	at := f.Lo + image.Addr(r.Field)
	if r.Size != 4 && r.Form == diff.Relative {
		e.refuse(referenceUnbound, "the short branch at %#x leaves what is carried", uint64(f.Lo)+uint64(r.At))
		return
	}
	e.settled[at] = r.Form != diff.Relative
	e.fixups = append(e.fixups, fixup{at, image.Addr(r.Tail), to, image.Addr(int64(r.Off)), r.Form})
}

// stub is the address of the stub that calls an import the base image lacks.
func (e *emitter) stub(i image.Import) image.Addr {
	n := slices.Index(e.stubs, i)
	if n < 0 {
		n = len(e.stubs)
		e.slot(slot{imp: i})
		e.stubs = append(e.stubs, i)
	}
	return stubSpace + image.Addr(n*stubSize)
}

// slot is the address of a GOT slot that the object brings.
func (e *emitter) slot(s slot) image.Addr {
	if n := slices.Index(e.slots, s); n >= 0 {
		return slotSpace + image.Addr(n*slotSize)
	}
	at := slotSpace + image.Addr(len(e.slots)*slotSize)
	e.slots = append(e.slots, s)
	switch {
	case s.imp.Name != "":
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: e.importSymbol(s.imp)})
	case s.base != 0:
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: e.baseSymbol(s.base, e.d.BaseVariableName(s.base))})
	default:
		e.pointer(at, s.local)
	}
	return at
}

// variable is the address of the new variable at a.
func (e *emitter) variable(a image.Addr) image.Addr {
	for _, v := range e.vars {
		if a >= v.lo && a < v.hi {
			return v.at + (a - v.lo)
		}
	}
	lo, hi := e.d.NewRun(a)
	if hi-lo > maxNewVariable {
		e.refuse(dataUnmapped, "the new variable %s has %d bytes, more than can be brought", e.variableName(a), hi-lo)
		return varSpace
	}
	align := image.Addr(64) // a cache line at least
	if s := e.d.Fixed.SectionAt(lo); s != nil && s.Align&(s.Align-1) == 0 {
		align = max(align, image.Addr(s.Align))
	}
	if far := alignUp(lo, 2*pageSize); align > pageSize && far < hi {
		e.refuse(dataUnmapped, "the new variable %s may be aligned to more than a page, which cannot be had", e.variableName(a))
		return varSpace
	}
	align = min(align, pageSize)
	e.varAlign = max(e.varAlign, align)
	v := variable{lo: lo, hi: hi, at: alignUp(e.varEnd, align) + lo%align}
	e.varEnd = v.at + (hi - lo)
	e.vars = append(e.vars, v)
	e.note(newVariable, "it uses the new variable %s (%d bytes), which starts with its initial value", e.variableName(a), hi-lo)
	for _, r := range e.d.Fixed.RelocsIn(lo, hi) {
		e.store(v.at+(r.At-lo), &r)
	}
	return v.at + (a - lo)
}

const (
	stubSize       = 16
	slotSize       = 8
	maxNewVariable = 16 << 20
)

func alignUp(a, n image.Addr) image.Addr { return (a + n - 1) &^ (n - 1) }

// layout places stubs, unwind data, slots and variables, and finishes the
// object.
func (e *emitter) layout() (*patch.Object, error) {
	if len(e.chunks) == 0 {
		return nil, nil
	}
	e.addConstants()
	lo, hi := ^uint64(0), uint64(0)
	for _, c := range e.chunks {
		lo, hi = min(lo, c.Addr), max(hi, c.Addr+uint64(len(c.Data)))
	}
	o := &patch.Object{BaseBuildID: string(e.d.Base.BuildID), Lo: lo &^ (pageSize - 1)}
	stubs := alignUp(image.Addr(hi), pageSize)
	refs := stubs + image.Addr(len(e.stubs)*stubSize)
	unwind := refs + image.Addr(e.h.refs*slotSize)
	fdes, err := fdesOf(e.d.Fixed)
	if err != nil {
		return nil, err
	}
	eh, open, err := frames(fdes, e.c.list, unwind)
	if err != nil {
		return nil, err
	}
	for _, x := range open {
		s, ok := e.handlerSlot(x.slot)
		if !ok {
			return nil, fmt.Errorf("write .eh_frame: no slot for the personality routine at %#x", uint64(x.slot))
		}
		e.toSlot(x.at, s)
	}
	end := alignUp(unwind+image.Addr(len(eh)), pageSize)
	o.Hi, o.EHFrame = uint64(end), uint64(unwind)

	p := places{refs: refs, stubs: stubs, slots: end}
	p.vars = alignUp(end+image.Addr(len(e.slots)*slotSize), max(e.varAlign, 64))
	e.addStubs(p)
	e.addRefs(p)
	e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Unwind, Addr: uint64(unwind), Data: eh})
	e.addVariables(p)
	o.RWEnd = uint64(alignUp(p.of(e.varEnd), pageSize))
	o.Symbols = e.symbols
	slices.SortFunc(e.chunks, func(a, b patch.Chunk) int { return cmp.Compare(a.Addr, b.Addr) })
	o.Chunks = e.chunks
	if err := e.fix(p, image.Addr(o.Lo), image.Addr(o.RWEnd)); err != nil {
		return nil, err
	}
	o.Relocs = e.relocs
	return o.Canonical(), nil
}

// places are the final addresses of the spaces.
type places struct{ refs, stubs, slots, vars image.Addr }

// of translates an address of a space into one of the object.
func (p places) of(a image.Addr) image.Addr {
	switch {
	case a >= varSpace:
		return p.vars + (a - varSpace)
	case a >= slotSpace:
		return p.slots + (a - slotSpace)
	case a >= stubSpace:
		return p.stubs + (a - stubSpace)
	case a >= refSpace:
		return p.refs + (a - refSpace)
	}
	return a
}

// addStubs writes one PLT-like entry per import: endbr64; jmp *slot(%rip).
func (e *emitter) addStubs(p places) {
	for i, imp := range e.stubs {
		here := p.stubs + image.Addr(i*stubSize)
		to := p.of(e.slot(slot{imp: imp}))
		b := []byte{0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc}
		binary.LittleEndian.PutUint32(b[6:], uint32(to-(here+10)))
		e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Code, Addr: uint64(here), Data: b})
		e.symbols = append(e.symbols, patch.Symbol{Kind: patch.Internal, Name: imp.Name + "$stub", Value: uint64(here), Size: stubSize, Func: true})
	}
}

// addRefs writes the slots through which exceptions are handled, still empty.
func (e *emitter) addRefs(p places) {
	if n := e.h.refs; n > 0 {
		e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Table, Addr: uint64(p.refs), Data: make([]byte, n*slotSize)})
	}
}

// addVariables writes the read-write part: empty slots and initial values.
func (e *emitter) addVariables(p places) {
	for i := range e.slots {
		at := uint64(p.slots) + uint64(i*slotSize)
		e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Var, Addr: at, Data: make([]byte, slotSize)})
	}
	for _, v := range e.vars {
		data := make([]byte, v.hi-v.lo)
		copy(data, e.d.Fixed.Bytes(v.lo, len(data)))
		at := uint64(p.of(v.at))
		e.chunks = append(e.chunks, patch.Chunk{Kind: patch.Var, Addr: at, Data: data})
		e.symbols = append(e.symbols, patch.Symbol{Kind: patch.Internal, Name: "new:" + e.d.VariableName(v.lo), Value: at, Size: uint64(len(data))})
	}
}

// fix gives the fields and relocations their final addresses. The object is
// [lo, hi).
func (e *emitter) fix(p places, lo, hi image.Addr) error {
	var fields []patch.Reloc
	for _, x := range e.fixups {
		to := p.of(x.to) + x.off
		if x.form != diff.Relative {
			if to < lo || to > hi {
				return fmt.Errorf("the field at %#x leads to %#x, outside of the object", uint64(x.at), uint64(to))
			}
			fields = append(fields, patch.Reloc{At: uint64(x.at), Type: absolute[x.form], Sym: -1, Add: int64(to)})
			continue
		}
		c := e.chunkAt(x.at)
		binary.LittleEndian.PutUint32(c.Data[uint64(x.at)-c.Addr:], uint32(to-(x.at+x.tail)))
	}
	for _, at := range e.h.loads {
		c := e.chunkAt(at)
		c.Data[uint64(at)-c.Addr] = 0x8b // mov
	}
	for i := range e.relocs {
		r := &e.relocs[i]
		r.At = uint64(p.of(image.Addr(r.At)))
		if r.Sym < 0 {
			r.Add = int64(p.of(image.Addr(r.Add)))
		}
	}
	e.relocs = append(e.relocs, fields...)
	slices.SortFunc(e.relocs, func(a, b patch.Reloc) int { return cmp.Compare(a.At, b.At) })
	return nil
}

// chunkAt is the chunk that holds an address.
func (e *emitter) chunkAt(a image.Addr) *patch.Chunk {
	i, found := slices.BinarySearchFunc(e.chunks, uint64(a), func(c patch.Chunk, a uint64) int { return cmp.Compare(c.Addr, a) })
	if !found {
		i--
	}
	return &e.chunks[i]
}

// span is a set of ranges of addresses.
type span []image.Range

func (s *span) add(lo, hi image.Addr) { *s = append(*s, image.Range{Lo: lo, Hi: hi}) }

// merged are the ranges joined where they touch, by address.
func (s span) merged() []image.Range {
	all := slices.Clone(s)
	slices.SortFunc(all, func(a, b image.Range) int { return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi)) })
	var out []image.Range
	for _, r := range all {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// addConstants writes the constants and tables found while carrying.
func (e *emitter) addConstants() {
	add := func(s span, kind patch.ChunkKind) {
		for _, r := range s.merged() {
			b := slices.Clone(e.d.Fixed.Bytes(r.Lo, int(r.Hi-r.Lo)))
			if len(b) == 0 {
				continue
			}
			for _, q := range e.d.Fixed.RelocsIn(r.Lo, r.Hi) {
				if !e.stored[q.At] { // a pointer of something else: it must not be used
					clear(b[q.At-r.Lo : min(q.At-r.Lo+8, image.Addr(len(b)))])
				}
			}
			e.chunks = append(e.chunks, patch.Chunk{Kind: kind, Addr: uint64(r.Lo), Data: b})
		}
	}
	add(e.consts, patch.Const)
	add(e.tables, patch.Table)
	add(e.h.tables, patch.Handlers)
}

func hexAddr(a image.Addr) string { return fmt.Sprintf("%#x", uint64(a)) }
