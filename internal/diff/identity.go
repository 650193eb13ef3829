package diff

import (
	"bytes"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Constants have identities too: a program compares pointers with the address
// of a sentinel, walks a table up to the address behind it, and keeps such
// addresses in its variables. Carried code must then use the constants of the
// base image and not its own copies, wherever they are the same.

// findIdentities collects which constant of the base image a constant of the
// fixed one is. What says so: the same instruction of both versions of a
// function takes both addresses; the same slot of a variable or table holds
// them; they have the same name. Contradictions say nothing.
func (d *Diff) findIdentities() {
	var all []vote
	for i, a := range d.baseOf {
		if a == nil {
			continue
		}
		b := d.Fixed.Funcs[i]
		if !a.described() || !b.described() {
			continue
		}
		first := len(all)
		if a.Hash == b.Hash && len(a.Refs) == len(b.Refs) {
			for k := range b.Refs {
				all = addIdentity(all, &a.Refs[k], &b.Refs[k], vote{firm: 1})
			}
		} else if d.state[i] == Changed {
			all = d.alignedIdentities(a, b, all)
		}
		all = oneEach(all, first)
	}
	all = d.storedIdentities(all)
	all = d.namedIdentities(all)
	d.constants = map[image.Addr]image.Addr{}
	for _, p := range tally(all) {
		for _, measure := range []func(*vote) int32{firmly, weakly} {
			if first, second := p.best(measure); first != nil {
				if second == nil || measure(first) > 2*measure(second) {
					d.constants[p.fixed] = first.base
				}
				break
			}
		}
	}
}

func addIdentity(all []vote, p, q *Ref, v vote) []vote {
	if p.Kind != Lea || q.Kind != Lea || p.Class != image.ROData || q.Class != image.ROData {
		return all
	}
	v.base, v.fixed = p.Target, q.Target
	return append(all, v)
}

// alignedIdentities is for changed pairs. Pairs of which less than half
// corresponds say nothing.
func (d *Diff) alignedIdentities(a, b *Func, all []vote) []vote {
	if !slices.ContainsFunc(b.Refs, func(r Ref) bool { return r.Kind == Lea && r.Class == image.ROData }) {
		return all
	}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
	pairs := d.align(a, b)
	if 2*len(pairs) < min(len(x), len(y)) {
		return all
	}
	for _, p := range pairs {
		for s, t := range pairedRefs(&x[p[0]], &y[p[1]]) {
			all = addIdentity(all, &a.Refs[s], &b.Refs[t], vote{weak: 1})
		}
	}
	return all
}

// storedIdentities is for the slots of variables and tables.
func (d *Diff) storedIdentities(all []vote) []vote {
	for i := range d.Fixed.Relocs {
		q := &d.Fixed.Relocs[i]
		t, ok := Pointee(q)
		if !ok || d.Fixed.ClassAt(t) != image.ROData {
			continue
		}
		b := d.Map(q.At)
		if !b.OK() {
			continue
		}
		p := d.Base.RelocAt(b.Base)
		if p == nil || p.Type != q.Type {
			continue
		}
		if u, ok := Pointee(p); ok && d.Base.ClassAt(u) == image.ROData {
			all = append(all, vote{fixed: t, base: u, firm: 1})
		}
	}
	return all
}

// namedIdentities is for constants with symbols of their own.
func (d *Diff) namedIdentities(all []vote) []vote {
	for _, o := range d.data.objects.fixed {
		if o.base != nil && o.sure && d.Fixed.ClassAt(o.addr) == image.ROData && d.Base.ClassAt(o.base.addr) == image.ROData {
			all = append(all, vote{fixed: o.addr, base: o.base.addr, firm: 1000})
		}
	}
	return all
}

// SameConstant is the constant of the base image that the one at t is, if it
// has the same content: what carried code uses in place of a copy. Switch
// tables are never the same, since they lead into their own function: the
// caller tells them apart.
func (d *Diff) SameConstant(t image.Addr) (image.Addr, bool) {
	b, ok := d.constants[t]
	if !ok {
		switch o := d.data.objects.covering(t); {
		case o != nil && o.base != nil && o.sure && o.size == o.base.size && d.Fixed.ClassAt(o.addr) == image.ROData:
			b = o.base.addr + (t - o.addr) // a place inside a named one
		case o == nil:
			if b, ok = d.onlyString(t); !ok {
				return 0, false
			}
		default:
			return 0, false
		}
	}
	if o := d.data.objects.covering(t); o != nil && o.base != nil && d.Fixed.ClassAt(o.addr) == image.ROData {
		if o.size != o.base.size || b-o.base.addr != t-o.addr || !d.SameTable(o.base.addr, o.addr) {
			return 0, false
		}
	}
	if n := d.Fixed.CString(t); n > 1 && d.Fixed.startsString(t) && d.Base.CString(b) == n {
		return b, string(d.Base.Bytes(b, n)) == string(d.Fixed.Bytes(t, n)) && d.SameTable(b, t)
	}
	return b, d.SameTable(b, t)
}

// onlyString is the one string that the base image takes the address of with the
// content of that at t. Programs compare with the address of a default, and free
// what is not it.
func (d *Diff) onlyString(t image.Addr) (image.Addr, bool) {
	n := d.Fixed.CString(t)
	if n <= 1 || !d.Fixed.startsString(t) {
		return 0, false
	}
	b := d.strings()[string(d.Fixed.Bytes(t, n))]
	return b, b != 0
}

// SeveralStrings says whether the base image takes the addresses of several
// strings with the content of that at t: which of them is meant nobody knows.
func (d *Diff) SeveralStrings(t image.Addr) bool {
	b, ok := d.strings()[string(d.Fixed.Bytes(t, d.Fixed.CString(t)))]
	return ok && b == 0
}

// takenStrings are the strings of an image whose address is taken, 0: several of
// that content.
func (c *Code) takenStrings() map[string]image.Addr {
	out := map[string]image.Addr{}
	for _, a := range c.heads {
		if c.ClassAt(a) != image.ROData || !c.startsString(a) {
			continue
		}
		s := string(c.Bytes(a, c.CString(a)))
		if _, twice := out[s]; twice {
			a = 0
		}
		out[s] = a
	}
	return out
}

// JumpTargets are the places that the switch table of f at t leads to; none:
// it is no such table. Everything up to the next known object counts that
// leads into code.
func (d *Diff) JumpTargets(f *Func, t image.Addr) []image.Addr {
	c := d.Fixed
	out := c.JumpTable(f, t, func(x image.Addr) bool { return d.inParts(f, x) })
	if len(out) == 0 {
		return nil
	}
	n := 0
	for to := range c.entries(t, c.End(t)) {
		if n++; n <= len(out) {
			continue
		}
		if c.ClassAt(to) != image.Text || c.At(to) == nil {
			break
		}
		out = append(out, to)
	}
	return out
}

// NamedConstant says whether a symbol covers the constant at t: then it is no
// string literal, whatever it looks like.
func (d *Diff) NamedConstant(t image.Addr) bool { return d.data.objects.covering(t) != nil }

// Kept says whether the program may hold the address of the base image's
// counterpart of the constant at t, or compare with it: a variable or table
// points to it, or a function that uses it compares it.
func (d *Diff) Kept(t image.Addr) bool {
	if _, ok := d.constants[t]; !ok {
		return false
	}
	if slices.ContainsFunc(d.Fixed.Relocs, func(r image.Reloc) bool { p, ok := Pointee(&r); return ok && p == t }) {
		return true
	}
	for _, f := range d.Fixed.Funcs {
		for k := range f.Refs {
			if f.Refs[k].Target == t && f.described() && d.Compared(f, k) {
				return true
			}
		}
	}
	return false
}

// WasConstant says whether the constant at t has a counterpart in the base image,
// equal or not.
func (d *Diff) WasConstant(t image.Addr) bool { _, ok := d.constants[t]; return ok }

// EndOf is the named table or variable that ends at t, when nothing with a name
// starts there: then t is its end, whatever follows. Among plain constants
// strings and switch tables have no names, so there it cannot be told.
func (d *Diff) EndOf(t image.Addr) (start image.Addr, ok bool) {
	n := &d.data.objects
	if !n.complete || n.covering(t) != nil || d.Fixed.ClassAt(t) == image.ROData {
		return 0, false
	}
	if o := n.covering(t - 1); o != nil && o.addr+o.size == t {
		return o.addr, true
	}
	return 0, false
}

// endingAt is the section of variables or constants that ends at t.
func (c *Code) endingAt(t image.Addr) *image.Section {
	for _, s := range c.Sections {
		if s.Addr < t && s.Addr+s.Size == t && (s.Class.Writable() || s.Class == image.ROData || s.Class == image.RelRO) {
			return s
		}
	}
	return nil
}

// Before is the object that ends exactly at t, where one is known to start
// before it.
func (d *Diff) Before(t image.Addr) (image.Addr, bool) {
	c := d.Fixed
	s := c.SectionAt(t)
	if s != nil && t == s.Addr { // what ends where .bss starts is in .data
		s = c.endingAt(t)
	}
	if s == nil || t <= s.Addr {
		return 0, false
	}
	i, _ := slices.BinarySearch(c.heads, t)
	if i == 0 || c.heads[i-1] < s.Addr {
		return 0, false
	}
	return c.heads[i-1], true
}

// Literal says whether the constant at o of the fixed image looks like a string or
// a switch table, which nobody walks to the end by address.
func (d *Diff) Literal(o image.Addr) bool {
	c := d.Fixed
	return d.Text(o) || c.ClassAt(o) == image.ROData && !d.NamedConstant(o) && c.startsSwitch(o)
}

// Text says whether the constant at o of the fixed image looks like a string. A
// table that begins with a small number does so only at its start.
func (d *Diff) Text(o image.Addr) bool {
	c := d.Fixed
	return c.ClassAt(o) == image.ROData && !d.NamedConstant(o) && c.startsString(o) && c.onlyText(o, c.End(o))
}

// onlyText says whether nothing but strings, one behind the other, lies from a to
// end, and zeros behind the last one.
func (c *Code) onlyText(a, end image.Addr) bool {
	for a < end {
		n := c.CString(a)
		if n == 1 {
			return len(bytes.Trim(c.Bytes(a, int(end-a)), "\x00")) == 0
		}
		if n == 0 {
			return false
		}
		a += image.Addr(n)
	}
	return true
}

// Compared says whether f compares the address that its reference k takes:
// with a pointer that walks a table, or with a sentinel. It follows the
// register through the code in the order in which it stands, until something
// else is loaded into it.
func (d *Diff) Compared(f *Func, k int) bool {
	if f.Refs[k].Kind != Lea {
		return false
	}
	code := d.Fixed.Bytes(f.Lo, int(f.Hi-f.Lo))
	o := int(f.Refs[k].At)
	if o >= len(code) {
		return true
	}
	in, err := arch.Decode(code[o:])
	if err != nil {
		return true
	}
	reg, _, ok := registers(&in, code[o:])
	if r := &f.Refs[k]; r.Form != Relative {
		var rm int
		switch reg, rm = in.Named(code[o:]); {
		case r.Field-r.At == uint32(in.DispOff) && in.DispLen > 0 && !(in.Map == 0 && in.Op == 0x8d):
			return false // an operand in memory
		case in.Map != 0, in.Op == 0x3d, in.Op == 0x81 && in.Reg() == 7:
			return true
		case in.Op == 0xc7 || in.Op == 0x81:
			reg = rm
		case in.Op == 0x68:
			return false // handed over
		case in.Op&0xc7 == 0x05:
			reg = rax
		}
		ok = reg >= 0
		if in.Op == 0xc7 && !ok {
			return false // stored
		}
	}
	if !ok {
		return true
	}
	for o += int(in.Len); o < len(code); o += int(in.Len) {
		if in, err = arch.Decode(code[o:]); err != nil {
			return true
		}
		x, y, ok := registers(&in, code[o:])
		if ok && in.Map == 0 && (in.Op == 0x39 || in.Op == 0x3b) && (x == reg || y == reg) {
			return true
		}
		if overwrites(&in, code[o:], reg) {
			return false
		}
	}
	return false
}

// overwrites says that the instruction certainly loads something else into
// the register.
func overwrites(in *arch.Inst, code []byte, reg int) bool {
	if in.IsCall() { // the psABI lets a call clobber these
		return reg <= 2 || reg >= 6 && reg <= 11
	}
	x, y, ok := registers(in, code)
	switch {
	case in.Map != 0 || in.Vector:
		return false
	case in.Op == 0x8b || in.Op == 0x8d || in.Op == 0x63:
		return ok && x == reg
	case in.Op == 0x89 || in.Op == 0xc7:
		return ok && y == reg
	case in.Op == 0x31 || in.Op == 0x33:
		return ok && x == reg && y == reg
	}
	return false
}

// registers are the two register operands of a one-byte-opcode instruction;
// the second is -1 when it is in memory.
func registers(in *arch.Inst, code []byte) (reg, rm int, ok bool) {
	if !in.HasModRM || in.Map != 0 {
		return 0, 0, false
	}
	reg, rm = in.Named(code)
	return reg, rm, true
}
