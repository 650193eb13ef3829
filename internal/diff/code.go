package diff

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Code is an image with every function decoded once.
type Code struct {
	*image.Image
	Funcs []*Func // by Lo; those of the image and code that nothing describes

	lows   []image.Addr // Funcs[i].Lo, for searching
	index  image.Index  // over lows
	starts []image.Addr // known first addresses of objects, sorted
	heads  []image.Addr // those whose address is taken, not only accessed

	distances map[image.Addr]*spreadTable // tables of distances that code reads
	imported  map[string]bool             // names that the loader looks up in other images
	texts     sync.Map                    // see textEnds
}

// Func is one function as the comparison sees it.
type Func struct {
	Lo, Hi   image.Addr
	Names    []string
	Source   image.Source
	LSDA     image.Addr
	Fragment bool
	Resolver bool // the loader asks it once for the address of another function
	Index    int  // in Code.Funcs

	Refs    []Ref  // by At
	Hash    uint64 // over the bytes, every reference replaced by its class
	Insts   int    // instructions
	Bad     int    // bytes that are no instruction we know
	TLS     bool   // uses thread-local storage
	Calls   bool   // makes calls
	Exits   bool   // returns, or jumps where a register or memory says
	Spreads bool   // reads numbers of 32 bits from tables, maybe distances

	versions []image.Import // of those of Names that have one, sorted
	file     string         // of a static one, if its symbol tells
}

// Name is the first name, or fn_<hex of the address>.
func (f *Func) Name() string {
	if len(f.Names) > 0 {
		return f.Names[0]
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}

// Size in bytes.
func (f *Func) Size() uint64 { return uint64(f.Hi - f.Lo) }

// described says whether unwind data or a symbol's size bounds the function.
// Other code (that of the C start-up files, mostly) is never believed in
// matters of data: __TMC_END__ has the address of whatever comes first.
func (f *Func) described() bool { return f.Source != image.FromGap }

// Kind is how an instruction uses its PC-relative field.
type Kind uint8

const (
	Call   Kind = iota // call rel32
	Jump               // jmp, leaving the function
	Cond               // jcc and its kin, leaving the function
	Lea                // takes the address
	Access             // reads or writes memory there, or calls or jumps through it
)

// Form is how a field says where it leads.
type Form uint8

const (
	Relative Form = iota // a distance from the end of the instruction
	Abs32                // the address, extended by zeros
	Abs32S               // the address, extended by its sign
	Abs64                // the address
)

// Ref is one field that leads out of its function (or takes the address of a
// place in it): PC-relative, or in a program at a fixed address absolute. An
// instruction may have two then, displacement and immediate.
type Ref struct {
	At      uint32 // offset of the instruction in the function
	Field   uint32 // offset of the field
	Size    uint8  // of the field: 1, 4 or 8 bytes
	Tail    uint8  // bytes from the field to the end of the instruction
	Kind    Kind
	Width   uint8       // Access: so many bytes are read or written, or fewer (see accessWidth)
	Class   image.Class // of Target
	Form    Form
	Indexed bool  // a register is added to the address, which need not be in the object then
	Known   bool  // the object at Target is the one that is meant: the relocation names it
	Off     int32 // the field leads so far from Target, which is the object that is meant
	Target  image.Addr
}

// Leads is where the field leads.
func (r *Ref) Leads() image.Addr { return r.Target + image.Addr(int64(r.Off)) }

// At is the function that holds a, nil when none does.
func (c *Code) At(a image.Addr) *Func {
	k := c.index.Find(a)
	if k >= 0 && a < c.Funcs[k].Hi {
		return c.Funcs[k]
	}
	return nil
}

// Entry is the function that starts at a, nil when none does.
func (c *Code) Entry(a image.Addr) *Func {
	if k := c.index.Find(a); k >= 0 && c.lows[k] == a {
		return c.Funcs[k]
	}
	return nil
}

// Text is the code of f.
func (c *Code) Text(f *Func) []byte { return c.Bytes(f.Lo, int(f.Hi-f.Lo)) }

// End is the end of the object at a: the next address in its section that
// anything refers to, or the end of the section.
func (c *Code) End(a image.Addr) image.Addr { return c.next(c.starts, a) }

// ObjectEnd is the end of the object whose address a is. Only addresses that
// are taken count as starts, not members that are accessed. Compilers align
// every object of 32 bytes and more to 32 (psABI §3.1.2 asks for 16): so what
// starts elsewhere, behind an aligned a, is a part of the object at a, or
// something small that does no harm with it. Strings and switch tables are
// objects of their own wherever they start.
func (c *Code) ObjectEnd(a image.Addr) image.Addr {
	const aligned = 32
	end := c.next(c.heads, a)
	if a%aligned != 0 {
		return end
	}
	s := c.SectionAt(a)
	for s != nil && end%aligned != 0 && end < s.Addr+s.Size && !c.startsString(end) && !c.startsSwitch(end) {
		end = c.next(c.heads, end)
	}
	return end
}

// startsString: a string follows a NUL.
func (c *Code) startsString(a image.Addr) bool {
	b := c.Bytes(a-1, 1)
	return len(b) == 1 && b[0] == 0 && c.CString(a) > 1
}

// startsSwitch: the first two distances at a lead into code, or the first two
// pointers into functions.
func (c *Code) startsSwitch(a image.Addr) bool {
	if c.label(a) && c.label(a+8) {
		return true
	}
	b := c.Bytes(a, 8)
	if a%4 != 0 || len(b) < 8 {
		return false
	}
	first := a + image.Addr(int64(int32(binary.LittleEndian.Uint32(b))))
	second := a + image.Addr(int64(int32(binary.LittleEndian.Uint32(b[4:]))))
	return c.ClassAt(a) == image.ROData && c.ClassAt(first) == image.Text && c.ClassAt(second) == image.Text
}

// next is the first of starts behind a in its section, or the section's end.
func (c *Code) next(starts []image.Addr, a image.Addr) image.Addr {
	s := c.SectionAt(a)
	if s == nil {
		return a
	}
	end := s.Addr + s.Size
	k, ok := slices.BinarySearch(starts, a)
	if ok {
		k++
	}
	if k < len(starts) && starts[k] < end {
		return starts[k]
	}
	return end
}

// decode decodes every function of m and the code that nothing describes.
func decode(ctx context.Context, m *image.Image) *Code {
	c := &Code{Image: m}
	c.Funcs = make([]*Func, 0, len(m.Funcs))
	store := make([]Func, len(m.Funcs))
	for i, f := range m.Funcs {
		store[i] = Func{Lo: f.Lo, Hi: f.Hi, Names: f.Names, Source: f.Source, LSDA: f.LSDA, Fragment: f.Fragment}
		c.Funcs = append(c.Funcs, &store[i])
	}
	for _, g := range m.Gaps() {
		c.Funcs = append(c.Funcs, c.cut(g)...)
	}
	slices.SortFunc(c.Funcs, func(a, b *Func) int { return compareAddr(a.Lo, b.Lo) })
	c.lows = make([]image.Addr, len(c.Funcs))
	var w workspace
	for i, f := range c.Funcs {
		f.Index = i
		c.lows[i] = f.Lo
	}
	c.index = image.NewIndex(c.lows)
	for _, f := range c.Funcs {
		if ctx.Err() != nil {
			return c
		}
		c.normalise(f, &w)
	}
	c.nameVersions()
	c.nameImports()
	c.nameSources()
	c.findResolvers()
	c.findFragments()
	c.findStarts()
	return c
}

func compareAddr(a, b image.Addr) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// cut splits a stretch that nothing describes at the padding which ends on a
// 16-byte boundary, where assemblers and linkers start the next function.
func (c *Code) cut(g image.Range) []*Func {
	code := c.Bytes(g.Lo, int(g.Hi-g.Lo))
	var out []*Func
	start := arch.Padding(code)
	add := func(end int) {
		if start < end {
			out = append(out, &Func{Lo: g.Lo + image.Addr(start), Hi: g.Lo + image.Addr(end), Source: image.FromGap})
		}
	}
	for o := start; o < len(code); {
		in, err := arch.Decode(code[o:])
		if err != nil {
			o++
			continue
		}
		o += int(in.Len)
		if in.FallsThrough() {
			continue
		}
		pad := arch.Padding(code[o:])
		if next := o + pad; next == len(code) || (uint64(g.Lo)+uint64(next))%16 == 0 {
			add(o)
			start, o = next, next
		}
	}
	add(len(code))
	return out
}

// scan calls fn for every instruction of f with its offset and what it refers
// to outside, in order of fields. A byte that is no instruction has Len 0. What
// in and refs point to is good for the call only.
func (c *Code) scan(f *Func, code []byte, fn func(at int, in *arch.Inst, refs []Ref)) {
	var refs [maxRefs]Ref
	var in arch.Inst
	var err error
	for at := 0; at < len(code); {
		in, err = arch.Decode(code[at:])
		if err != nil {
			fn(at, &in, nil) // the zero Inst
			at++
			continue
		}
		n := 0
		if c.refer(f, code[at:], at, &in, &refs[0]) {
			n = 1
		}
		if len(c.Kept) > 0 {
			n = c.referAbsolute(f, code[at:], at, &in, refs[:], n)
		}
		fn(at, &in, refs[:n])
		at += int(in.Len)
	}
}

// refer fills ref with what the instruction at offset at refers to. Branches
// inside the function are code, not references.
func (c *Code) refer(f *Func, code []byte, at int, in *arch.Inst, ref *Ref) bool {
	target, ok := in.Target(uint64(f.Lo)+uint64(at), code)
	if !ok {
		return false
	}
	t := image.Addr(target)
	*ref = Ref{At: uint32(at), Target: t}
	if in.Rel {
		if !in.IsCall() && t >= f.Lo && t < f.Hi {
			return false
		}
		ref.Field, ref.Size = uint32(at)+uint32(in.ImmOff), in.ImmLen
		ref.Tail = in.Len - in.ImmOff
		switch {
		case in.IsCall():
			ref.Kind = Call
		case in.IsJump():
			ref.Kind = Jump
		default:
			ref.Kind = Cond
		}
	} else {
		ref.Field, ref.Size = uint32(at)+uint32(in.DispOff), in.DispLen
		ref.Tail = in.Len - in.DispOff
		ref.Kind = Access
		if in.Map == 0 && in.Op == 0x8d {
			ref.Kind = Lea
		} else {
			ref.Width = accessWidth(in, code)
		}
	}
	ref.Class = c.ClassAt(t)
	return true
}

// workspace is what decoding one function after the other reuses.
type workspace struct {
	code []byte
	refs []Ref
}

// normalise finds the references of f and its hash.
func (c *Code) normalise(f *Func, w *workspace) {
	code := c.Text(f)
	w.code = append(w.code[:0], code...)
	w.refs = w.refs[:0]
	c.scan(f, code, func(at int, in *arch.Inst, refs []Ref) {
		if in.Len == 0 {
			f.Bad++
			return
		}
		f.Insts++
		f.Calls = f.Calls || in.IsCall()
		f.Spreads = f.Spreads || in.Map == 0 && in.Op == 0x63 && in.HasMemory() && in.Index != arch.NoReg
		f.Exits = f.Exits || in.IsRet() || in.IsJump() && in.IsIndirect()
		// fs:0x28 is the stack protector's canary, at the same place everywhere.
		if in.FS && !(in.DispLen == 4 && in.Base == arch.NoReg && in.Disp(code[at:]) == 0x28) {
			f.TLS = true
		}
		for i := range refs {
			r := &refs[i]
			if r.Class == image.None && !f.described() && c.behindData(r.Target) {
				r.Class = image.Data
			}
			mask(w.code[r.Field:r.Field+uint32(r.Size)], r.Class)
			w.refs = append(w.refs, *r)
		}
	})
	f.Refs = slices.Clone(w.refs)
	f.Hash = hash(w.code)
}

// behindData: a is in the filler behind a section of variables. Where .data ends,
// and .bss has not begun, is __TMC_END__ of the C start-up files; whether there is
// filler depends on the last variable.
func (c *Code) behindData(a image.Addr) bool {
	class := image.None
	for _, s := range c.Sections {
		if s.Addr <= a && s.Size > 0 {
			class = s.Class
		}
	}
	return class.Writable()
}

// mask overwrites a field with the class of its target.
func mask(field []byte, class image.Class) {
	if class == image.BSS {
		class = image.Data
	}
	for i := range field {
		field[i] = byte(class)
	}
}

// hash is FNV-1a over 8-byte words with a final mix. It only has to be the
// same in every run and to spread; sameCode confirms what it suggests.
func hash(b []byte) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := uint64(len(b)) * prime
	for len(b) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(b)) * prime
		h ^= h >> 29
		b = b[8:]
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * prime
		h ^= h >> 29
	}
	return h ^ h>>32
}

// sameCode compares two functions byte by byte, references masked by class.
func (d *Diff) sameCode(a, b *Func) bool {
	if a.Hash != b.Hash || len(a.Refs) != len(b.Refs) || a.Hi-a.Lo != b.Hi-b.Lo {
		return false
	}
	x, y := d.Base.Text(a), d.Fixed.Text(b)
	if len(x) != len(y) {
		return false
	}
	at := uint32(0)
	for k := range a.Refs {
		p, q := &a.Refs[k], &b.Refs[k]
		if p.Field != q.Field || p.Size != q.Size || p.Form != q.Form || !sameClass(p.Class, q.Class) {
			return false
		}
		if string(x[at:p.Field]) != string(y[at:p.Field]) {
			return false
		}
		at = p.Field + uint32(p.Size)
	}
	return string(x[at:]) == string(y[at:])
}

func sameClass(a, b image.Class) bool {
	return a == b || a.Writable() && b.Writable()
}
