package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
)

// FDE is one frame description entry with the CIE it refers to.
type FDE struct {
	Lo, Hi  Addr
	CIE     *CIE
	LSDA    Addr
	Program []byte // call frame instructions
}

// CIE is a common information entry.
type CIE struct {
	CodeAlign      uint64
	DataAlign      int64
	ReturnReg      uint64
	SignalFrame    bool // 'S'
	HasPersonality bool
	PersonalityAt  Addr // address (or slot, when indirect) of the personality
	Program        []byte

	pointers  byte // encoding of addresses in FDEs ('R')
	lsda      byte // encoding of LSDA pointers ('L'), or omitted
	augmented bool // 'z': FDEs have augmentation data
	entry     entryCFA
}

// FDEs decodes the .eh_frame bytes that are at addr. The entries are sorted by
// Lo and do not overlap: where two did, the one that starts later begins where
// the earlier then ends, as the binary search of unwinders sees it. Bounded:
// every length is checked against the section. The programs share data.
func FDEs(data []byte, addr Addr) ([]FDE, error) {
	t := frameTable{data: data, addr: addr, cies: map[int]*CIE{}}
	// The usual FDE takes 24 to 40 bytes.
	fdes := make([]FDE, 0, len(data)/32)
	for off := 0; off < len(data); {
		e, err := t.entry(off)
		if err != nil {
			return nil, fmt.Errorf(".eh_frame offset %#x: %w", off, err)
		}
		off = e.end
		if e.empty || e.id == 0 { // terminators also stand in the middle
			continue
		}
		fde, err := t.fde(e)
		if err != nil {
			return nil, fmt.Errorf(".eh_frame offset %#x: FDE: %w", e.start, err)
		}
		if fde.Lo < fde.Hi {
			fdes = append(fdes, fde)
		}
	}
	return disjoint(fdes), nil
}

// disjoint sorts by Lo, drops repeated starts and cuts overlaps.
func disjoint(fdes []FDE) []FDE {
	byLo := func(a, b FDE) int { return cmp.Compare(a.Lo, b.Lo) }
	if !slices.IsSortedFunc(fdes, byLo) {
		slices.SortStableFunc(fdes, byLo)
	}
	fdes = slices.CompactFunc(fdes, func(a, b FDE) bool { return a.Lo == b.Lo })
	for i := 1; i < len(fdes); i++ {
		fdes[i-1].Hi = min(fdes[i-1].Hi, fdes[i].Lo)
	}
	return slices.Clip(fdes)
}

type frameTable struct {
	data []byte
	addr Addr
	cies map[int]*CIE // by offset of the entry
	last struct {     // almost every FDE refers to the same CIE as the one before
		off int
		cie *CIE
	}
}

// frameEntry is a CIE or FDE without its header.
type frameEntry struct {
	start, end int // in the section, header included
	idAt       int // offset of the id field, which CIE distances count from
	id         uint64
	body       int // offset behind the id
	empty      bool
}

// entry reads the length and id of the entry at off (LSB §10.6.1).
func (t *frameTable) entry(off int) (frameEntry, error) {
	e := frameEntry{start: off}
	d := t.data[off:]
	if len(d) < 4 {
		// Linkers pad the section with zeros to its alignment.
		if bytes.Count(d, []byte{0}) == len(d) {
			return frameEntry{start: off, end: len(t.data), empty: true}, nil
		}
		return e, fmt.Errorf("length field cut off after %d bytes", len(d))
	}
	size, head := uint64(le.Uint32(d)), 4
	if size == 0 {
		return frameEntry{start: off, end: off + 4, empty: true}, nil
	}
	if size == 0xffffffff {
		if len(d) < 12 {
			return e, fmt.Errorf("64-bit length field cut off after %d bytes", len(d))
		}
		size, head = le.Uint64(d[4:]), 12
	}
	if size > uint64(len(d)-head) {
		return e, fmt.Errorf("entry of %d bytes runs past the end of the section", size)
	}
	e.idAt = off + head
	e.end = e.idAt + int(size)
	// The id has 4 bytes in .eh_frame whatever the form of the length.
	if size < 4 {
		return e, fmt.Errorf("entry of %d bytes has no room for its id", size)
	}
	e.id = uint64(le.Uint32(t.data[e.idAt:]))
	e.body = e.idAt + 4
	return e, nil
}

// cieAt returns the CIE whose entry starts at off. CIEs may stand anywhere,
// behind the FDEs that use them too.
func (t *frameTable) cieAt(off int) (*CIE, error) {
	if t.last.cie != nil && t.last.off == off {
		return t.last.cie, nil
	}
	c, ok := t.cies[off]
	if !ok {
		e, err := t.entry(off)
		if err == nil && (e.empty || e.id != 0) {
			err = fmt.Errorf("no CIE there")
		}
		if err == nil {
			c, err = t.cie(e)
		}
		if err != nil {
			return nil, fmt.Errorf("CIE at offset %#x: %w", off, err)
		}
		t.cies[off] = c
	}
	t.last.off, t.last.cie = off, c
	return c, nil
}

// cie decodes a CIE (LSB §10.6.1.1.1).
func (t *frameTable) cie(e frameEntry) (*CIE, error) {
	c := &CIE{lsda: encOmit}
	r := frameReader{data: t.data[:e.end], off: e.body, addr: t.addr}
	version := r.u8()
	if r.err == nil && version != 1 && version != 3 {
		return nil, fmt.Errorf("version %d is unknown", version)
	}
	aug := r.cstring()
	c.CodeAlign, c.DataAlign = r.uleb(), r.sleb()
	if version == 1 {
		c.ReturnReg = uint64(r.u8())
	} else {
		c.ReturnReg = r.uleb()
	}
	if aug != "" {
		if err := c.augmentation(aug, &r); err != nil {
			return nil, err
		}
	}
	c.Program = r.rest()
	c.entry.run(c.Program)
	return c, r.err
}

// augmentation decodes the data that the letters of aug announce.
func (c *CIE) augmentation(aug string, r *frameReader) error {
	if aug[0] != 'z' {
		return fmt.Errorf("augmentation %q is unknown", aug)
	}
	c.augmented = true
	n := r.uleb()
	end := r.off + int(min(n, uint64(len(r.data))))
	for _, l := range aug[1:] {
		switch l {
		case 'R':
			c.pointers = r.u8()
		case 'L':
			c.lsda = r.u8()
		case 'S':
			c.SignalFrame = true
		case 'P':
			c.HasPersonality = true
			c.PersonalityAt = r.pointer(r.u8() &^ encIndirect)
		case 'B': // arm64 pointer authentication; harmless
		default:
			return fmt.Errorf("augmentation %q has an unknown letter %q", aug, l)
		}
	}
	if r.err == nil && r.off > end {
		return fmt.Errorf("augmentation %q needs more than its %d bytes", aug, n)
	}
	r.skipTo(end)
	return r.err
}

// fde decodes an FDE (LSB §10.6.1.1.2).
func (t *frameTable) fde(e frameEntry) (FDE, error) {
	if e.id > uint64(e.idAt) {
		return FDE{}, fmt.Errorf("its CIE would be %#x bytes before the section", e.id-uint64(e.idAt))
	}
	c, err := t.cieAt(e.idAt - int(e.id))
	if err != nil {
		return FDE{}, err
	}
	if c.pointers&encIndirect != 0 {
		return FDE{}, fmt.Errorf("indirect address encoding %#x", c.pointers)
	}
	r := frameReader{data: t.data[:e.end], off: e.body, addr: t.addr}
	f := FDE{CIE: c}
	f.Lo = r.pointer(c.pointers)
	size := r.pointer(c.pointers & 0x0f)
	f.Hi = f.Lo + size
	if c.augmented {
		end := r.off
		n := r.uleb()
		if n > uint64(len(r.data)-r.off) {
			return FDE{}, fmt.Errorf("augmentation data of %d bytes runs past the entry", n)
		}
		end = r.off + int(n)
		if c.lsda != encOmit && n > 0 {
			if c.lsda&encIndirect != 0 {
				return FDE{}, fmt.Errorf("indirect LSDA encoding %#x", c.lsda)
			}
			f.LSDA = r.pointer(c.lsda)
		}
		if r.err == nil && r.off > end {
			return FDE{}, fmt.Errorf("LSDA pointer does not fit its %d bytes of augmentation data", n)
		}
		r.skipTo(end)
	}
	f.Program = r.rest()
	if r.err == nil && f.Hi < f.Lo {
		return FDE{}, fmt.Errorf("range %#x+%#x overflows", f.Lo, size)
	}
	return f, r.err
}

// Pointer encodings (LSB §10.5.1): a format, what it is relative to, and
// whether it is the address of the pointer.
const (
	encOmit     = 0xff
	encIndirect = 0x80
	encPCRel    = 0x10
)

// frameReader reads one entry. The first failure is kept in err; after it
// everything reads as zero.
type frameReader struct {
	data []byte // the section up to the end of the entry
	off  int
	addr Addr // of data[0]
	err  error
}

// take returns the next n <= 8 bytes.
func (r *frameReader) take(n int) []byte {
	if n > len(r.data)-r.off {
		r.fail("cut off at offset %#x", len(r.data))
	}
	if r.err != nil {
		var zero [8]byte
		return zero[:n]
	}
	b := r.data[r.off : r.off+n]
	r.off += n
	return b
}

func (r *frameReader) u8() byte { return r.take(1)[0] }

func (r *frameReader) cstring() string {
	n := bytes.IndexByte(r.data[r.off:], 0)
	if n < 0 {
		r.fail("string at offset %#x has no end", r.off)
	}
	if r.err != nil {
		return ""
	}
	s := string(r.data[r.off : r.off+n])
	r.off += n + 1
	return s
}

func (r *frameReader) rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.data[r.off:len(r.data):len(r.data)]
}

func (r *frameReader) skipTo(off int) {
	if r.err == nil && (off < r.off || off > len(r.data)) {
		r.err = fmt.Errorf("augmentation data ends at offset %#x, outside its entry", off)
	}
	if r.err == nil {
		r.off = off
	}
}

func (r *frameReader) uleb() uint64 {
	v, n, sign := leb128(r.data[r.off:])
	if n == 0 || n == 10 && sign != 0 {
		r.fail("LEB128 at offset %#x is cut off or too large", r.off)
	}
	if r.err != nil {
		return 0
	}
	r.off += n
	return v
}

func (r *frameReader) sleb() int64 {
	v, n, sign := leb128(r.data[r.off:])
	if n == 0 {
		r.fail("LEB128 at offset %#x is cut off or too large", r.off)
	}
	if r.err != nil {
		return 0
	}
	r.off += n
	if n < 10 {
		v |= sign << (7 * uint(n))
	}
	return int64(v)
}

// pointer reads an encoded pointer. A zero stays zero: it says "none" whatever
// it would be relative to.
func (r *frameReader) pointer(enc byte) Addr {
	at := r.addr + Addr(r.off)
	var v Addr
	switch enc & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = Addr(le.Uint64(r.take(8)))
	case 0x01:
		v = Addr(r.uleb())
	case 0x02:
		v = Addr(le.Uint16(r.take(2)))
	case 0x03:
		v = Addr(le.Uint32(r.take(4)))
	case 0x09:
		v = Addr(r.sleb())
	case 0x0a:
		v = Addr(int64(int16(le.Uint16(r.take(2)))))
	case 0x0b:
		v = Addr(int64(int32(le.Uint32(r.take(4)))))
	default:
		r.fail("pointer format %#x is unknown", enc)
	}
	switch enc & 0x70 {
	case 0:
	case encPCRel:
		if v != 0 {
			v += at
		}
	default:
		r.fail("pointer base %#x is not used on x86-64", enc)
	}
	return v
}

func (r *frameReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// leb128 decodes the 64 bits of a LEB128 and tells its sign as all ones or 0.
// n is its length, 0 when b ends in it or 64 bits do not hold it. An unsigned
// one of 10 bytes holds its top bit in the last byte, which then is 0 or 1.
func leb128(b []byte) (v uint64, n int, sign uint64) {
	for i, c := range b {
		if i == 9 && c > 1 && c != 0x7f {
			break
		}
		v |= uint64(c&0x7f) << (7 * uint(i))
		if c < 0x80 {
			if c&0x40 != 0 {
				sign = ^uint64(0)
			}
			return v, i + 1, sign
		}
		if i == 9 {
			break
		}
	}
	return 0, 0, 0
}

// startsInside says whether the frame of f is already set up at its first
// instruction: the CFA there is not rsp+8, so no call enters here. Only the
// rows before the first advance matter; what we do not know leaves the CFA as
// it was.
func (f *FDE) startsInside() bool {
	cfa := f.CIE.entry
	cfa.run(f.Program)
	return cfa.expression || cfa.reg != dwarfRSP || cfa.off != 8
}

const dwarfRSP = 7 // psABI figure 3.36

type entryCFA struct {
	reg, off   uint64
	expression bool
}

// run follows the call frame instructions (DWARF 5 §6.4.2) up to the first one
// that leaves the entry.
func (c *entryCFA) run(p []byte) {
	r := frameReader{data: p}
	for r.err == nil && r.off < len(p) {
		op := r.u8()
		switch {
		case op>>6 == 1: // advance_loc
			return
		case op>>6 == 2: // offset
			r.uleb()
			continue
		case op>>6 == 3: // restore
			continue
		}
		switch op {
		case 0x00, 0x0a, 0x0b, 0x2d: // nop, remember, restore_state, window_save
		case 0x01, 0x02, 0x03, 0x04: // set_loc, advance_loc1, 2, 4
			return
		case 0x05, 0x09, 0x14, 0x2f, 0x11, 0x15: // two operands
			r.uleb()
			r.uleb()
		case 0x06, 0x07, 0x08, 0x2e: // one operand
			r.uleb()
		case 0x0c: // def_cfa
			c.reg, c.off, c.expression = r.uleb(), r.uleb(), false
		case 0x0d: // def_cfa_register
			c.reg, c.expression = r.uleb(), false
		case 0x0e: // def_cfa_offset
			c.off = r.uleb()
		case 0x0f: // def_cfa_expression
			c.expression = true
			r.skip(r.uleb())
		case 0x10, 0x16: // expression, val_expression
			r.uleb()
			r.skip(r.uleb())
		default:
			return
		}
	}
}

func (r *frameReader) skip(n uint64) {
	if n > uint64(len(r.data)-r.off) {
		r.fail("block of %d bytes is cut off", n)
		return
	}
	r.off += int(n)
}

// ehFrame decodes the .eh_frame of a file; none is no error.
func ehFrame(f *file) ([]FDE, error) {
	s := f.section(".eh_frame")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	b, err := f.data(s)
	if err != nil {
		return nil, err
	}
	return FDEs(b, Addr(s.Addr))
}
