package diff

import (
	"cmp"
	"debug/elf"
	"slices"

	"hotpatch/internal/image"
)

// Value is a variable: where it is in both images, and the size that they share.
type Value struct {
	Base, Fixed image.Addr
	Size        uint64
	Name        string
	Section     bool // it is all of a section, of that name
}

// InitialValues finds the variables whose initial value differs. A running
// process keeps the old value; only a person can say whether that matters.
// Pointers are compared through what they point to. bound are variables and
// tables that carried code is bound to.
//
// A variable is known by its name, by functions with equal code, by what carried
// code means, and by pointers at the same place of variables that are known. Where
// the names say that it is another one than before, but equal code refers to it,
// that is what the code finds in a running process.
func (d *Diff) InitialValues(bound ...Value) []Value {
	v := &valueWalk{d: d, seen: map[[2]image.Addr]bool{}}
	for _, o := range d.data.objects.fixed {
		if b := d.Map(o.addr); b.OK() {
			v.add(b.Base, o.addr)
		} else if o.sure {
			v.add(o.base.addr, o.addr)
		}
	}
	for i := range d.data.points {
		p := &d.data.points[i]
		switch b := d.Map(p.fixed); {
		case b.OK():
			v.add(b.Base, p.fixed)
		case p.end || p.doubt != "" || d.data.objects.contradict(p):
		default:
			v.add(p.base, p.fixed)
		}
	}
	for _, b := range bound {
		v.add(b.Base, b.Fixed)
	}
	for i := range d.Fixed.Relocs {
		if t, ok := Pointee(&d.Fixed.Relocs[i]); ok && d.Fixed.ClassAt(t).Writable() {
			if b := d.Map(t); b.OK() {
				v.add(b.Base, t)
			}
		}
	}
	v.follow()
	v.out = append(v.out, d.setValues()...)
	slices.SortFunc(v.out, func(a, b Value) int { return cmp.Or(compareAddr(a.Fixed, b.Fixed), compareAddr(a.Base, b.Base)) })
	v.out = slices.CompactFunc(v.out, func(a, b Value) bool { return a.Fixed == b.Fixed })
	return append(v.out, d.threadValues()...)
}

// contradict says that the names of variables are sure, and that of the place of
// p is the name of another variable than the one it was taken for.
func (n *namedObjects) contradict(p *point) bool {
	o := n.covering(p.fixed)
	return o != nil && o.sure || n.swapped(p.base, p.fixed)
}

// valueWalk compares pairs of variables, and those that pointers in them lead to.
type valueWalk struct {
	d    *Diff
	seen map[[2]image.Addr]bool
	work []Value
	out  []Value
}

// add takes a pair of places.
func (v *valueWalk) add(base, fixed image.Addr) {
	if x, ok := v.d.valueAt(base, fixed); ok && !v.seen[[2]image.Addr{x.Base, x.Fixed}] {
		v.seen[[2]image.Addr{x.Base, x.Fixed}] = true
		v.work = append(v.work, x)
	}
}

// valueAt bounds the variable of which a place is known in both images: from its
// start, where symbols tell it, to its end, or to where the next one starts.
func (d *Diff) valueAt(base, fixed image.Addr) (Value, bool) {
	n, name := d.Fixed.End(fixed)-fixed, variableName(d.Fixed, fixed)
	m := d.Base.End(base) - base
	if o := d.data.objects.covering(fixed); o != nil {
		name = o.name
		if size, ok := d.Base.objectSize(base - (fixed - o.addr)); ok {
			base, fixed, n, m = base-(fixed-o.addr), o.addr, o.size, size
		} else if fixed == o.addr {
			n = o.size
		}
	}
	return Value{Base: base, Fixed: fixed, Size: uint64(min(n, m)), Name: name}, n > 0 && m > 0
}

// objectSize is the size of the variable whose symbol is at a.
func (c *Code) objectSize(a image.Addr) (size image.Addr, ok bool) {
	for _, s := range c.SymbolsAt(a) {
		if s.Type == elf.STT_OBJECT && s.Addr == a {
			size = max(size, image.Addr(s.Size))
		}
	}
	return size, size > 0
}

func (v *valueWalk) follow() {
	for len(v.work) > 0 {
		x := v.work[len(v.work)-1]
		v.work = v.work[:len(v.work)-1]
		if v.d.Fixed.ClassAt(x.Fixed).Writable() && v.d.valueDiffers(x.Base, x.Fixed, image.Addr(x.Size)) {
			v.out = append(v.out, x)
		}
		v.pointers(&x)
	}
}

// pointers adds the variables that pointers at equal places of x lead to, if
// nothing better says what these were.
func (v *valueWalk) pointers(x *Value) {
	n := image.Addr(x.Size)
	for _, q := range v.d.Fixed.RelocsIn(x.Fixed, x.Fixed+n) {
		t, ok := Pointee(&q)
		p := v.d.Base.RelocAt(q.At - x.Fixed + x.Base)
		if !ok || p == nil || p.Type != q.Type || p.Sym != q.Sym || !v.d.Fixed.ClassAt(t).Writable() || v.d.Map(t).OK() {
			continue
		}
		if s, ok := Pointee(p); ok && v.d.Base.ClassAt(s).Writable() && !v.d.data.objects.contradict(&point{fixed: t, base: s}) {
			v.add(s, t)
		}
	}
}

// setValues are the linker sets of variables that functions go over and that do
// not start with the same elements.
func (d *Diff) setValues() (out []Value) {
	for _, s := range d.Fixed.Sections {
		a := d.Base.SectionNamed(s.Name)
		if !s.Class.Writable() || s.Size == 0 || !isIdentifier(s.Name) || a == nil || a.Size != s.Size || !d.Fixed.goesOver(s) {
			continue
		}
		if d.valueDiffers(a.Addr, s.Addr, s.Size) {
			out = append(out, Value{a.Addr, s.Addr, uint64(s.Size), s.Name, true})
		}
	}
	return out
}

// goesOver says that code takes the address where s starts or ends.
func (c *Code) goesOver(s *image.Section) bool {
	ends := func(t image.Addr) bool { return t == s.Addr || t == s.Addr+s.Size }
	for _, f := range c.Funcs {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == Lea && ends(r.Target) {
				return true
			}
		}
	}
	return slices.ContainsFunc(c.Relocs, func(r image.Reloc) bool {
		t, ok := Pointee(&r)
		return ok && ends(t)
	})
}

func (d *Diff) valueDiffers(ta, tb, n image.Addr) bool {
	ca, cb := d.Base.ClassAt(ta), d.Fixed.ClassAt(tb)
	if ca == image.BSS && cb == image.BSS {
		return false
	}
	if ca == image.BSS || cb == image.BSS { // one of them is all zero
		c, at := d.Base, ta
		if ca == image.BSS {
			c, at = d.Fixed, tb
		}
		if len(c.RelocsIn(at, at+n)) > 0 {
			return true
		}
		for _, b := range c.Bytes(at, int(n)) {
			if b != 0 {
				return true
			}
		}
		return false
	}
	return d.tableDiffers(ta, tb, n, nil) != "" && !d.noiseTable(ta, tb, n)
}

// noiseTable: all that differs are pointers to strings that are noise.
func (d *Diff) noiseTable(ta, tb, n image.Addr) bool {
	ra, rb := d.Base.RelocsIn(ta, ta+n), d.Fixed.RelocsIn(tb, tb+n)
	x, y := d.Base.Bytes(ta, int(n)), d.Fixed.Bytes(tb, int(n))
	if len(ra) == 0 || len(ra) != len(rb) {
		na, nb := d.Base.CString(ta), d.Fixed.CString(tb)
		return na > 1 && nb > 1 && d.noiseTexts(string(x[:min(na-1, len(x))]), string(y[:min(nb-1, len(y))]))
	}
	if len(x) != len(y) {
		return false
	}
	for i := range ra {
		if ra[i].At-ta != rb[i].At-tb {
			return false
		}
		if same, _ := d.samePointer(&ra[i], &rb[i], nil); same {
			continue
		}
		s, okA := Pointee(&ra[i])
		t, okB := Pointee(&rb[i])
		if !okA || !okB || !d.noiseString(s, t) {
			return false
		}
	}
	slot := func(o int) bool {
		return len(d.Fixed.RelocsIn(tb+image.Addr(o&^7), tb+image.Addr(o&^7)+8)) > 0
	}
	for o := range x {
		if x[o] != y[o] && !slot(o) {
			return false
		}
	}
	return true
}
