package diff

import (
	"debug/elf"
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Programs at a fixed address. Their code holds addresses as numbers, in
// immediates and displacements, and only the relocations that the link editor
// kept tell them apart from other numbers (image.Kept). With these, such a
// field is a reference like a PC-relative one: masked, followed, compared, bound.
//
// One thing is different. An address to which a register is added need not lie
// in the object that it means: compilers fold constants into it (table-97 for
// table[c-'a'], or the end of a table that a negative index leads back into).
// Where the relocation names the object, the reference is to that (Ref.Off);
// where it only knows the section, Ref.Indexed warns who binds it.

// maxRefs is how many fields of one instruction may be references.
const maxRefs = 2

// referAbsolute adds the absolute fields of an instruction to refs, of which n
// are there, and looks at what the relocations of these say of their object.
func (c *Code) referAbsolute(f *Func, code []byte, at int, in *arch.Inst, refs []Ref, n int) int {
	lo := f.Lo + image.Addr(at)
	all := c.KeptIn(lo, lo+image.Addr(in.Len))
	for i := range all {
		k := &all[i]
		off := uint8(k.At - lo)
		if !k.Absolute() {
			if n > 0 && refs[0].Field == uint32(at)+uint32(off) {
				c.meant(&refs[0], k)
			}
			continue
		}
		if n == len(refs) || !absoluteField(in, off, k.Size()) {
			continue // checkKept tells
		}
		r := Ref{At: uint32(at), Field: uint32(at) + uint32(off), Size: uint8(k.Size()), Tail: in.Len - off, Kind: Lea, Target: k.Target}
		switch k.Type {
		case elf.R_X86_64_32:
			r.Form = Abs32
		case elf.R_X86_64_32S:
			r.Form = Abs32S
		default:
			r.Form = Abs64
		}
		if off == in.DispOff && in.DispLen > 0 {
			r.Indexed = in.Base != arch.NoReg || in.Index != arch.NoReg
			if !r.Indexed && !(in.Map == 0 && in.Op == 0x8d) {
				r.Kind, r.Width = Access, accessWidth(in, code)
			}
		}
		r.Class = c.ClassAt(r.Target)
		c.meant(&r, k)
		refs[n] = r
		n++
	}
	if n == 2 && refs[0].Field > refs[1].Field {
		refs[0], refs[1] = refs[1], refs[0]
	}
	return n
}

// meant makes r refer to the object that its relocation names, if it leads
// outside of that.
func (c *Code) meant(r *Ref, k *image.Kept) {
	if k.Hi == 0 {
		return
	}
	if r.Target < k.Lo || r.Target >= k.Hi {
		off := int64(r.Target - k.Lo)
		if off != int64(int32(off)) {
			return
		}
		r.Off, r.Target, r.Class = int32(off), k.Lo, c.ClassAt(k.Lo)
	}
	r.Indexed, r.Known = false, true
}

// Aside says that p, of the base image, and q of the fixed one add a register to
// an address beside or in the same named object: at the same distance from it.
// Where both lead to the start of an array with a name, they mean that.
func (d *Diff) Aside(p, q *Ref) bool {
	const reach = 1024
	if !p.Indexed || !q.Indexed || !p.Class.Writable() || !q.Class.Writable() || d.Base.startsArray(p.Target) && d.Fixed.startsArray(q.Target) {
		return false
	}
	n := d.data.objects.fixed
	i, _ := slices.BinarySearchFunc(n, q.Target-min(q.Target, reach), func(o *object, a image.Addr) int { return compareAddr(o.addr, a) })
	for ; i < len(n) && n[i].addr < q.Target+reach; i++ {
		if o := n[i]; o.sure && o.size == o.base.size && o.addr-q.Target == o.base.addr-p.Target {
			return true
		}
	}
	return false
}

// sameBehind compares the constants behind those that q leads to, which may be
// what is meant.
func (d *Diff) sameBehind(p, q *Ref) (bool, string) {
	const reach = 1024
	constant := q.Class == image.ROData || q.Class == image.RelRO
	if !q.Indexed || !constant || d.Fixed.startsArray(q.Target) || d.Fixed.label(q.Target) {
		return true, ""
	}
	s := d.Fixed.SectionAt(q.Target)
	n := d.Fixed.ObjectEnd(q.Target)
	if n-q.Target > reach || n >= s.Addr+s.Size {
		return true, ""
	}
	at := p.Target + (n - q.Target)
	if d.Base.ClassAt(at) != d.Fixed.ClassAt(n) {
		return false, "refers to constants before others, which moved"
	}
	same, why := d.sameObject(at, n, 0, nil, nil)
	return same, "refers to constants before others: " + why
}

// startsArray: a symbol says that something starts at a which is large enough to
// be indexed.
func (c *Code) startsArray(a image.Addr) bool {
	const two = 16 // bytes; a single number is not
	o := c.inNamed(a)
	return o != nil && o.Addr == a && o.Size >= two
}

// meantAsIs: what r leads to is the object that is meant, as far as can be told.
func (d *Diff) meantAsIs(c *Code, r *Ref) bool {
	return !r.Indexed || !d.data.objects.complete || c.startsArray(r.Target)
}

// startsIndexed: an object may start at the address a to which registers are
// added. A place in something that has a name, or that is not aligned as tables
// are, is a member of what is indexed, or lies beside it.
func (c *Code) startsIndexed(a image.Addr) bool {
	const aligned = 16
	if c.label(a) && !c.label(a-8) {
		return true
	}
	if o := c.inNamed(a); o != nil {
		return o.Addr == a
	}
	return a%aligned == 0
}

// inNamed is the symbol of the variable or constant that holds a, nil when none
// does.
func (c *Code) inNamed(a image.Addr) *image.Symbol {
	const aliases = 8
	for i := c.LastSymbol(a); i >= 0 && i > c.LastSymbol(a)-aliases; i-- {
		if s := &c.Symbols[i]; s.Type == elf.STT_OBJECT && a-s.Addr < image.Addr(s.Size) {
			return s
		}
	}
	return nil
}

// absoluteField: n bytes at an offset are the displacement or the immediate.
func absoluteField(in *arch.Inst, off uint8, n int) bool {
	if in.Rel && in.ImmLen > 0 {
		return false
	}
	return in.DispLen > 0 && off == in.DispOff && n == int(in.DispLen) && in.Base != arch.RIP ||
		in.ImmLen > 0 && off == in.ImmOff && n == int(in.ImmLen)
}

// relativeField is the PC-relative field of an instruction, if it has one.
func relativeField(in *arch.Inst) (off uint8, ok bool) {
	switch {
	case in.Rel:
		return in.ImmOff, true
	case in.Base == arch.RIP:
		return in.DispOff, true
	}
	return 0, false
}

// CheckKept holds the relocations that a program at a fixed address keeps against
// its code: each must be a field of an instruction, and each distance to data or
// to a PLT entry, which no assembler can know, must have one. What does not agree
// names section and offset: the file was changed after it was linked, or keeps
// only a part.
func (c *Code) CheckKept() error {
	if err := c.Unkept(); err != nil {
		return err
	}
	seen := 0
	for _, f := range c.Funcs {
		all := c.KeptIn(f.Lo, f.Hi)
		seen += len(all)
		code := c.Text(f)
		for at := 0; at < len(code); {
			in, err := arch.Decode(code[at:])
			if err != nil {
				if len(all) > 0 && all[0].At == f.Lo+image.Addr(at) {
					return c.disagrees(all[0].At, "a relocation is kept for what is no instruction")
				}
				at++
				continue
			}
			lo := f.Lo + image.Addr(at)
			relative, ok := relativeField(&in)
			covered := false
			for ; len(all) > 0 && all[0].At < lo+image.Addr(in.Len); all = all[1:] {
				k := &all[0]
				off := uint8(k.At - lo)
				switch {
				case k.Absolute() && absoluteField(&in, off, k.Size()):
				case !k.Absolute() && ok && off == relative:
					covered = true
				default:
					return c.disagrees(k.At, "a relocation is kept for what is no operand")
				}
			}
			if ok && !covered && f.described() {
				t, _ := in.Target(uint64(lo), code[at:])
				if class := c.ClassAt(image.Addr(t)); class != image.Text {
					return c.disagrees(lo+image.Addr(relative), fmt.Sprintf("the code refers to %#x, and no relocation for that was kept", t))
				}
			}
			at += int(in.Len)
		}
	}
	if seen < len(c.Kept) {
		return fmt.Errorf("%d relocations of code are kept for places between functions", len(c.Kept)-seen)
	}
	return nil
}

func (c *Code) disagrees(at image.Addr, what string) error {
	if s := c.SectionAt(at); s != nil {
		return fmt.Errorf("section %s at %#x (offset %#x): %s", s.Name, uint64(at), uint64(at-s.Addr), what)
	}
	return fmt.Errorf("%#x: %s", uint64(at), what)
}
