package diff

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"hotpatch/internal/image"
)

// findStarts collects every address where an object is known to begin: what
// code, relocations and symbols refer to, and the bounds of sections.
func (c *Code) findStarts() {
	add := func(a image.Addr, class image.Class) {
		switch class {
		case image.ROData, image.RelRO, image.Data, image.BSS:
			c.heads = append(c.heads, a)
		}
	}
	for _, f := range c.Funcs {
		for k := range f.Refs {
			r := &f.Refs[k]
			switch {
			case r.Indexed && !c.startsIndexed(r.Target):
			case r.Kind == Lea:
				add(r.Target, r.Class)
			case r.Class == image.ROData, r.Class == image.RelRO, r.Class.Writable():
				c.starts = append(c.starts, r.Target)
			}
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok {
			add(t, c.ClassAt(t))
		}
	}
	for i := range c.Symbols {
		s := &c.Symbols[i]
		if s.Type == elf.STT_OBJECT {
			add(s.Addr, c.ClassAt(s.Addr))
		}
	}
	for _, s := range c.Sections {
		add(s.Addr, s.Class)
		add(s.Addr+s.Size, s.Class)
	}
	slices.Sort(c.heads)
	c.heads = slices.Clip(slices.Compact(c.heads))
	c.starts = append(c.starts, c.heads...)
	slices.Sort(c.starts)
	c.starts = slices.Compact(c.starts)
	c.findDistances()
	strings := c.spreadStrings()
	c.closeTables(strings)
	c.heads = append(c.heads, strings...)
	slices.Sort(c.heads)
	c.heads = slices.Clip(slices.Compact(c.heads))
	c.starts = append(c.starts, strings...)
	slices.Sort(c.starts)
	c.starts = slices.Clip(slices.Compact(c.starts))
}

// Pointee is the address in the same image that a relocation stores, if it
// stores one.
func Pointee(r *image.Reloc) (image.Addr, bool) {
	switch r.Type {
	case elf.R_X86_64_RELATIVE, elf.R_X86_64_IRELATIVE:
		return image.Addr(r.Add), true
	case elf.R_X86_64_64:
		if r.SymAddr != 0 {
			return r.SymAddr + image.Addr(r.Add), true
		}
	case elf.R_X86_64_GLOB_DAT, elf.R_X86_64_JMP_SLOT:
		if r.SymAddr != 0 {
			return r.SymAddr, true
		}
	}
	return 0, false
}

// JumpTable reads the switch table at t that f uses: 32-bit distances from the
// table to places in f or its parts, at least two of them. Between these an
// entry may lead to other code: a cold part that nobody knows as one yet. It
// ends where the next object starts, or with the last entry into f.
func (c *Code) JumpTable(f *Func, t image.Addr, inParts func(image.Addr) bool) []image.Addr {
	if t%4 != 0 || c.ClassAt(t) != image.ROData {
		return nil
	}
	var out []image.Addr
	own, end := 0, 0
	for to := range c.entries(t, c.End(t)) {
		mine := to >= f.Lo && to < f.Hi || inParts(to)
		if !mine && (c.ClassAt(to) != image.Text || c.At(to) == nil) {
			break
		}
		out = append(out, to)
		if mine {
			own, end = own+1, len(out)
		}
	}
	if own < 2 {
		return nil
	}
	return out[:end]
}

// entries are where the switch table at t leads to, up to hi: 32-bit distances
// from the table, or pointers in programs at a fixed address.
func (c *Code) entries(t, hi image.Addr) iter.Seq[image.Addr] {
	return func(yield func(image.Addr) bool) {
		if c.RelocAt(t) != nil {
			for ; t+8 <= hi; t += 8 {
				r := c.RelocAt(t)
				if r == nil || r.Type != elf.R_X86_64_RELATIVE || !yield(image.Addr(r.Add)) {
					return
				}
			}
			return
		}
		for b := c.Bytes(t, int(hi-t)); len(b) >= 4; b = b[4:] {
			if !yield(t + image.Addr(int64(int32(binary.LittleEndian.Uint32(b))))) {
				return
			}
		}
	}
}

// label: the 8 bytes at a point into a function.
func (c *Code) label(a image.Addr) bool {
	r := c.RelocAt(a)
	if r == nil || r.Type != elf.R_X86_64_RELATIVE {
		return false
	}
	f := c.At(image.Addr(r.Add))
	return f != nil && f.Lo != image.Addr(r.Add)
}

// objectPair is a base address and the fixed address it is compared with.
type objectPair struct{ base, fixed image.Addr }

// objectNode is the comparison of two constant objects. They may refer to each
// other in circles: until something differs they are taken to be equal, and a
// difference found later reaches everything that leaned on them.
type objectNode struct {
	differs bool
	why     string
	users   []*objectNode
}

func (n *objectNode) spoil(why string) {
	if n.differs {
		return
	}
	n.differs, n.why = true, why
	for work := slices.Clone(n.users); len(work) > 0; {
		u := work[len(work)-1]
		work = work[:len(work)-1]
		if !u.differs {
			u.differs, u.why = true, why
			work = append(work, u.users...)
		}
	}
}

// sameObject compares the constants at ta and tb, and what they point to.
// width bounds the access (0: the address is taken, the whole object counts);
// owner is the pair of functions that refer to them, nil for a pointer.
func (d *Diff) sameObject(ta, tb image.Addr, width uint8, owner *[2]*Func, user *objectNode) (bool, string) {
	if owner != nil && width == 0 {
		if same, known := d.sameJumpTable(ta, tb, owner); known {
			return same, "jump table"
		}
	}
	if width > 0 && d.Fixed.ClassAt(tb) == image.ROData {
		return d.sameAccess(ta, tb, int(width))
	}
	key := objectPair{ta, tb}
	n := d.objects[key]
	if n == nil {
		n = &objectNode{}
		d.objects[key] = n
		if why := d.objectDiffers(ta, tb, n); why != "" {
			n.spoil(why)
		}
	}
	if user != nil && !n.differs {
		n.users = append(n.users, user)
	}
	return !n.differs, n.why
}

// sameJumpTable compares two switch tables by where their entries lead.
// known is false when either is no switch table.
func (d *Diff) sameJumpTable(ta, tb image.Addr, owner *[2]*Func) (same, known bool) {
	a, b := owner[0], owner[1]
	ja := d.Base.JumpTable(a, ta, func(x image.Addr) bool { return d.inBaseParts(a, b, x) })
	jb := d.Fixed.JumpTable(b, tb, func(x image.Addr) bool { return d.inParts(b, x) })
	if len(ja) == 0 || len(jb) == 0 {
		return false, false
	}
	n := min(len(ja), len(jb))
	for i := range n {
		if !d.sameCodePlace(ja[i], jb[i]) {
			return false, true
		}
	}
	// What follows a table may by chance look like one more entry. But a table
	// may grow and its code stay equal, where nothing bounds the index.
	return len(ja) == len(jb), true
}

func (d *Diff) inParts(f *Func, a image.Addr) bool {
	for _, p := range d.parts[f] {
		if a >= p.Lo && a < p.Hi {
			return true
		}
	}
	return false
}

// inBaseParts is inParts for the base image, through the counterparts.
func (d *Diff) inBaseParts(a, b *Func, x image.Addr) bool {
	for _, p := range d.parts[b] {
		if q := d.baseOf[p.Index]; q != nil && x >= q.Lo && x < q.Hi {
			return true
		}
	}
	g := d.Base.At(x)
	return g != nil && g.Fragment
}

// sameAccess compares constants that an instruction reads directly.
func (d *Diff) sameAccess(ta, tb image.Addr, width int) (bool, string) {
	x, y := d.Base.Bytes(ta, width), d.Fixed.Bytes(tb, width)
	if bytes.Equal(x, y) {
		return true, ""
	}
	return false, fmt.Sprintf("constant %x became %x", x[:min(len(x), 8)], y[:min(len(y), 8)])
}

// objectDiffers compares two constant objects up to the next known start and
// says how they differ, "" when they do not.
func (d *Diff) objectDiffers(ta, tb image.Addr, n *objectNode) string {
	sa, sb := d.Base.SectionAt(ta), d.Fixed.SectionAt(tb)
	ea, eb := sa.Addr+sa.Size, sb.Addr+sb.Size
	if ta == ea || tb == eb { // an end marker
		if ta == ea && tb == eb {
			return ""
		}
		return "end of section"
	}
	if why, known := d.spreadDiffers(ta, tb, n); known {
		return why
	}
	if o := d.data.objects.covering(tb); o != nil && o.sure && o.read && d.Base.ClassAt(o.base.addr) == sb.Class {
		return d.namedDiffers(ta, tb, o, n)
	}
	la, lb := d.Base.ObjectEnd(ta)-ta, d.Fixed.ObjectEnd(tb)-tb
	if sa.Class == image.RelRO || len(d.Base.RelocsIn(ta, ta+la)) > 0 || len(d.Fixed.RelocsIn(tb, tb+lb)) > 0 {
		return d.tableDiffers(ta, tb, d.extent(ta, tb, la, lb), n)
	}
	p, q := d.Base.inNamed(ta), d.Fixed.inNamed(tb)
	if p != nil && q != nil && (p.Size != q.Size || ta-p.Addr != tb-q.Addr) {
		return fmt.Sprintf("%s has %d bytes instead of %d", q.Name, q.Size, p.Size)
	}
	x, y := d.Base.Bytes(ta, int(ea-ta)), d.Fixed.Bytes(tb, int(eb-tb))
	na, nb := d.Base.CString(ta), d.Fixed.CString(tb)
	if na > 1 && nb > 1 && string(x[:na]) != string(y[:nb]) {
		return fmt.Sprintf("string %s became %s", quote(x[:na-1]), quote(y[:nb-1]))
	}
	if na > 1 && nb > 1 {
		// Something may be known to start within the string.
		la, lb = max(d.stringEnd(d.Base, ta, la), image.Addr(na)), max(d.stringEnd(d.Fixed, tb, lb), image.Addr(nb))
		// Where it is all there is on one side, filler ends it on the other.
		if la == image.Addr(na) {
			lb = d.Fixed.untilFiller(tb, image.Addr(nb), lb)
		} else if lb == image.Addr(nb) {
			la = d.Base.untilFiller(ta, image.Addr(na), la)
		}
	}
	short := int(min(la, lb))
	if !bytes.Equal(x[:short], y[:short]) {
		switch {
		case na == 1 && nb == 1 && (la == 1 || lb == 1): // both are the empty string, merged into the end of some other
			return ""
		case na > 1 && nb > 1:
			return fmt.Sprintf("what follows the string %s", quote(y[:nb-1]))
		}
		return fmt.Sprintf("constant object at %#x", uint64(tb))
	}
	if d.sameRest(x, y, ta, tb, la, lb) {
		return d.hiddenDiffers(ta, tb, min(la, lb), n)
	}
	if na > 1 && nb > 1 {
		if la > lb && d.Base.mergedStrings(ta, la) || la < lb && d.Fixed.mergedStrings(tb, lb) {
			return ""
		}
		return fmt.Sprintf("what follows the string %s", quote(y[:nb-1]))
	}
	return fmt.Sprintf("constant object at %#x", uint64(tb))
}

// sameRest compares what the longer of two constant objects has more with what
// lies behind the shorter one: one image has a start there and the other has none.
// x and y reach to the ends of their sections.
func (d *Diff) sameRest(x, y []byte, ta, tb, la, lb image.Addr) bool {
	end := ta + la
	if la < lb {
		x, y, la, lb, end = y, x, lb, la, tb+lb
	}
	rest, other := x[lb:la], y[lb:]
	n := min(len(rest), len(other))
	return bytes.Equal(rest[:n], other[:n]) && n == len(rest) || padding(rest, end)
}

// padding: the bytes before the end of an object are filler that aligns what
// starts there.
func padding(b []byte, end image.Addr) bool {
	const most = 64
	return image.Addr(len(b)) < min(end&-end, most) && len(bytes.Trim(b, "\x00")) == 0
}

// untilFiller is how far the string of text bytes at a goes, with the filler behind
// it; n, if no start is known behind that.
func (c *Code) untilFiller(a, text, n image.Addr) image.Addr {
	if end := c.End(a) - a; end > text && end < n && padding(c.Bytes(a+text, int(end-text)), a+end) {
		return end
	}
	return n
}

// stringEnd is how far the object goes that begins with the string at a, of
// which n bytes lie before the next address that is taken: less, where what is
// accessed before that is none of its members. Numbers may look like a short
// string, and tables with symbols have one, if they are no initial values.
func (d *Diff) stringEnd(c *Code, a, n image.Addr) image.Addr {
	const short = 4
	if c.mergedStrings(a, n) || d.data.objects.complete && c.CString(a) > short && c.inNamed(a) == nil {
		return c.End(a) - a
	}
	return n
}

// mergedStrings: the n bytes at a are strings as link editors put them, close
// together or aligned to 8 bytes (long ones), and no elements of an array, which
// all have the same size.
func (c *Code) mergedStrings(a, n image.Addr) bool {
	const aligned = 8
	var starts []image.Addr
	b := c.Bytes(a, int(n))
	for at := image.Addr(0); at < image.Addr(len(b)); {
		text := image.Addr(c.CString(a + at))
		if text <= 1 || at+text > n {
			return false
		}
		starts = append(starts, at)
		at += text
		pad := image.Addr(len(b[at:]) - len(bytes.TrimLeft(b[at:], "\x00")))
		if at += pad; pad > 0 && at < n && (pad >= aligned || (a+at)%aligned != 0) {
			return false
		}
	}
	if len(starts) < 2 {
		return false
	}
	size := starts[1]
	for i, at := range starts {
		if at != image.Addr(i)*size || at+size > n || image.Addr(c.CString(a+at)) > size {
			return true
		}
	}
	return false
}

// namedDiffers compares constants whose bounds their symbols tell. A place
// inside one stands for all of it: who holds its address holds the object.
func (d *Diff) namedDiffers(ta, tb image.Addr, o *object, n *objectNode) string {
	switch {
	case o.size != o.base.size:
		return fmt.Sprintf("%s has %d bytes instead of %d", o.name, o.size, o.base.size)
	case tb-o.addr != ta-o.base.addr:
		return "another place in " + o.name
	case tb != o.addr:
		_, why := d.sameObject(o.base.addr, o.addr, 0, nil, n)
		return why
	}
	if why := d.tableDiffers(ta, tb, o.size, n); why != "" {
		return why
	}
	return d.hiddenDiffers(ta, tb, o.size, n)
}

// extent is how much of two tables to compare when their ends differ: the
// longer one, unless all it has more is padding.
func (d *Diff) extent(ta, tb, la, lb image.Addr) image.Addr {
	n := min(la, lb)
	if la == lb || d.Base.blank(ta+n, la-n) && d.Fixed.blank(tb+n, lb-n) {
		return n
	}
	return max(la, lb)
}

// blank says whether the n bytes at a are few, zero and without relocation.
func (c *Code) blank(a, n image.Addr) bool {
	return n < 64 && len(c.RelocsIn(a, a+n)) == 0 && len(bytes.Trim(c.Bytes(a, int(n)), "\x00")) == 0
}

// tableDiffers compares n bytes that may hold pointers, slot by slot.
func (d *Diff) tableDiffers(ta, tb, n image.Addr, node *objectNode) string {
	x, y := d.Base.Bytes(ta, int(n)), d.Fixed.Bytes(tb, int(n))
	if len(x) != len(y) {
		return fmt.Sprintf("table at %#x ends early", uint64(tb))
	}
	ra, rb := d.Base.RelocsIn(ta, ta+n), d.Fixed.RelocsIn(tb, tb+n)
	if len(ra) != len(rb) {
		return fmt.Sprintf("table at %#x has %d pointers instead of %d", uint64(tb), len(rb), len(ra))
	}
	at := image.Addr(0)
	for i := range ra {
		p, q := &ra[i], &rb[i]
		o := q.At - tb
		if p.At-ta != o || o < at || !bytes.Equal(x[at:min(o, image.Addr(len(x)))], y[at:min(o, image.Addr(len(y)))]) {
			return fmt.Sprintf("table at %#x, offset %#x", uint64(tb), uint64(at))
		}
		if same, why := d.samePointer(p, q, node); !same {
			return fmt.Sprintf("table at %#x, slot %#x: %s", uint64(tb), uint64(o), why)
		}
		at = min(o+8, image.Addr(len(x)))
	}
	if !bytes.Equal(x[at:], y[at:]) {
		return fmt.Sprintf("table at %#x, offset %#x", uint64(tb), uint64(at))
	}
	return ""
}

// samePointer compares what two relocations store.
func (d *Diff) samePointer(p, q *image.Reloc, user *objectNode) (bool, string) {
	if p.Type != q.Type || !sameSymbol(p, q) {
		return false, "another symbol"
	}
	ta, okA := Pointee(p)
	tb, okB := Pointee(q)
	if okA && okB && p.Sym == "" {
		if same, why := d.sameSets(ta, tb); !same {
			return false, why
		}
		return d.sameTarget(ta, tb, 0, nil, user)
	}
	if p.Add != q.Add {
		return false, "another place in " + p.Sym
	}
	return d.sameExport(p, q, user)
}

// quote shortens a string for a message.
func quote(b []byte) string {
	const most = 40
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
