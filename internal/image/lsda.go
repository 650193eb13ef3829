package image

import (
	"cmp"
	"fmt"
	"slices"
)

// LSDA is the language-specific data of one function, which tells a personality
// routine what to do when an exception comes along: the format that GCC's and
// LLVM's C++, C (cleanup), Rust and Ada share.
//
// Layout: Itanium C++ ABI, Exception Handling, level II §7; GCC's
// gcc/except.cc, output_function_exception_table.
type LSDA struct {
	Lo, End Addr // the bytes that belong to it
	Pads    Addr // what landing pads are relative to
	// PadsEncoding of Pads; 0xff: it is not stored, being the start of the function.
	PadsEncoding byte
	Sites        []CallSite // by Start, as stored
	TypeEncoding byte       // of Type.Field; 0xff: there are no types
	Types        []Type     // those that actions use, by Index
}

// CallSite is a stretch of the function, from its start, and what happens to
// exceptions that come out of it.
type CallSite struct {
	Start, Len uint64
	Pad        Addr // landing pad; 0: none
	// Filters are what the landing pad tells apart, in order: > 0 is the index
	// of a type that is caught, 0 a cleanup, < 0 an exception specification.
	Filters []int64
}

// Type is one entry of the type table.
type Type struct {
	Index int
	Field Addr // of the entry itself
	// Target is the type object, or, when the encoding is indirect, the slot
	// that holds its address; 0: everything is caught.
	Target Addr
	// Specification: it is in the list of an exception specification.
	Specification bool
}

// Indirect says whether a pointer encoding leads to a slot with the address.
func Indirect(encoding byte) bool { return encoding != encOmit && encoding&encIndirect != 0 }

// PCRelative32 says whether an encoding is a distance of 32 bits from the field.
func PCRelative32(encoding byte) bool {
	return encoding != encOmit && encoding&0x7f == encPCRel|0x0b
}

// Bounds of an LSDA that we believe.
const (
	maxCallSites = 1 << 20
	maxActions   = 1 << 18 // over all call sites
)

// LSDA decodes the data at f.LSDA of a function of the image.
func (m *Image) LSDA(lo Addr, fn Range) (*LSDA, error) {
	s := m.SectionAt(lo)
	if s == nil || lo-s.Addr >= Addr(len(s.Data)) {
		return nil, fmt.Errorf("exception table at %#x: in no section", uint64(lo))
	}
	return ReadLSDA(s.Data[lo-s.Addr:], lo, fn)
}

// ReadLSDA decodes the table that starts at data[0], whose address is addr, of
// the function fn (a cold part is a function of its own). What follows it may be
// in data.
func ReadLSDA(data []byte, addr Addr, fn Range) (*LSDA, error) {
	r := &lsdaReader{frameReader: frameReader{data: data, addr: addr}, fn: fn, types: map[int64]*Type{}, chains: map[uint64][]int64{}}
	l, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("exception table at %#x: %w", uint64(addr), err)
	}
	return l, nil
}

type lsdaReader struct {
	frameReader
	fn     Range
	l      LSDA
	sites  byte // encoding of call sites
	action int  // offset of the action table
	base   int  // offset of the end of the type table, where specifications begin; 0: none
	end    int  // of all that was read
	steps  int
	types  map[int64]*Type
	chains map[uint64][]int64
}

func (r *lsdaReader) read() (*LSDA, error) {
	r.l = LSDA{Lo: r.addr, Pads: r.fn.Lo, PadsEncoding: r.u8()}
	if r.l.PadsEncoding != encOmit {
		r.l.Pads = r.pointer(r.l.PadsEncoding)
	}
	r.l.TypeEncoding = r.u8()
	if r.l.TypeEncoding != encOmit {
		n := r.uleb()
		if n > uint64(len(r.data)-r.off) {
			r.fail("its type table would end %#x bytes behind offset %#x", n, r.off)
		}
		r.base = r.off + int(min(n, uint64(len(r.data))))
	}
	r.sites = r.u8()
	n := r.uleb()
	if n > uint64(len(r.data)-r.off) {
		r.fail("call sites of %#x bytes run past the section", n)
	}
	if r.err != nil {
		return nil, r.err
	}
	r.action = r.off + int(n)
	r.end = max(r.action, r.base)
	if r.base != 0 && r.base < r.action {
		return nil, fmt.Errorf("its type table ends inside the call sites")
	}
	if err := r.callSites(); err != nil {
		return nil, err
	}
	for _, t := range r.types {
		r.l.Types = append(r.l.Types, *t)
	}
	slices.SortFunc(r.l.Types, func(a, b Type) int { return cmp.Compare(a.Index, b.Index) })
	r.l.End = r.addr + Addr(r.end)
	return &r.l, nil
}

// callSites reads the records up to the action table.
func (r *lsdaReader) callSites() error {
	for r.off < r.action {
		if len(r.l.Sites) == maxCallSites {
			return fmt.Errorf("more than %d call sites", maxCallSites)
		}
		start, size, pad := r.number(), r.number(), r.number()
		action := r.uleb()
		if r.err != nil {
			return r.err
		}
		length := uint64(r.fn.Hi - r.fn.Lo)
		if start > length || size > length-start {
			return fmt.Errorf("call site %#x+%#x is outside the function of %#x bytes", start, size, length)
		}
		c := CallSite{Start: start, Len: size}
		if pad != 0 {
			c.Pad = r.l.Pads + Addr(pad)
		}
		if action != 0 {
			var err error
			if c.Filters, err = r.chain(action - 1); err != nil {
				return err
			}
		}
		r.l.Sites = append(r.l.Sites, c)
	}
	if r.off != r.action {
		return fmt.Errorf("the last call site ends %d bytes behind the table", r.off-r.action)
	}
	return nil
}

// number is a field of a call site.
func (r *lsdaReader) number() uint64 {
	switch r.sites {
	case 0x01:
		return r.uleb()
	case 0x03:
		return uint64(le.Uint32(r.take(4)))
	}
	r.fail("call sites in format %#x", r.sites)
	return 0
}

// chain follows the actions from offset at of the action table.
func (r *lsdaReader) chain(at uint64) ([]int64, error) {
	if f, ok := r.chains[at]; ok {
		return f, nil
	}
	var out []int64
	save := r.off
	defer func() { r.off = save }()
	limit := len(r.data)
	if r.base != 0 {
		limit = r.base
	}
	for off := int64(r.action) + int64(min(at, 1<<32)); ; {
		if off < int64(r.action) || off >= int64(limit) {
			return nil, fmt.Errorf("action at offset %#x is outside its table", off)
		}
		if r.steps++; r.steps > maxActions || len(out) > limit-r.action {
			return nil, fmt.Errorf("more than %d actions", len(out))
		}
		r.off = int(off)
		filter := r.sleb()
		here := int64(r.off)
		next := r.sleb()
		if r.err != nil {
			return nil, r.err
		}
		r.end = max(r.end, r.off)
		if err := r.use(filter); err != nil {
			return nil, err
		}
		out = append(out, filter)
		if next == 0 {
			break
		}
		if next < -1<<32 || next > 1<<32 {
			return nil, fmt.Errorf("action at offset %#x leads %#x bytes away", off, next)
		}
		off = here + next
	}
	r.chains[at] = out
	return out, nil
}

// use reads what a filter refers to.
func (r *lsdaReader) use(filter int64) error {
	switch {
	case filter == 0:
		return nil
	case r.base == 0:
		return fmt.Errorf("filter %d without a type table", filter)
	case filter > 0:
		_, err := r.typeAt(filter, false)
		return err
	}
	off := int64(r.base) - filter - 1
	if filter < -1<<32 || off >= int64(len(r.data)) {
		return fmt.Errorf("exception specification %d is outside the section", filter)
	}
	save := r.off
	defer func() { r.off = save }()
	for r.off = int(off); ; {
		if r.steps++; r.steps > maxActions {
			return fmt.Errorf("more than %d actions", maxActions)
		}
		i := r.uleb()
		if r.err != nil {
			return r.err
		}
		r.end = max(r.end, r.off)
		if i == 0 {
			return nil
		}
		if _, err := r.typeAt(int64(min(i, 1<<32)), true); err != nil {
			return err
		}
	}
}

// typeAt reads entry i of the type table, which is counted backwards.
func (r *lsdaReader) typeAt(i int64, specification bool) (*Type, error) {
	if t, ok := r.types[i]; ok {
		t.Specification = t.Specification || specification
		return t, nil
	}
	size := int64(0)
	switch r.l.TypeEncoding & 0x0f {
	case 0x03, 0x0b:
		size = 4
	case 0x00, 0x04, 0x0c:
		size = 8
	default:
		return nil, fmt.Errorf("types in format %#x", r.l.TypeEncoding)
	}
	off := int64(r.base) - i*size
	if i > 1<<28 || off < int64(r.action) {
		return nil, fmt.Errorf("type %d is outside its table", i)
	}
	save := r.off
	defer func() { r.off = save }()
	r.off = int(off)
	t := &Type{Index: int(i), Field: r.addr + Addr(off), Specification: specification}
	t.Target = r.pointer(r.l.TypeEncoding &^ encIndirect)
	if r.err != nil {
		return nil, r.err
	}
	r.types[i] = t
	return t, nil
}
