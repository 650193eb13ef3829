package diff

import (
	"fmt"
	"strings"

	"hotpatch/internal/image"
)

// Value is the initial value of a variable that differs.
type Value struct {
	Base, Fixed image.Addr
	Size        uint64
	Name        string
}

// InitialValues finds the mapped variables whose initial value differs. A
// running process keeps the old value; only a person can say whether that
// matters. Pointers are compared through what they point to.
func (d *Diff) InitialValues() []Value {
	var out []Value
	for i := range d.data.points {
		p := &d.data.points[i]
		if d.Fixed.ClassAt(p.fixed) == image.RelRO || !d.Map(p.fixed).OK() {
			continue
		}
		n := min(d.Fixed.End(p.fixed)-p.fixed, d.Base.End(p.base)-p.base)
		if n == 0 || !d.valueDiffers(p.base, p.fixed, n) {
			continue
		}
		out = append(out, Value{p.base, p.fixed, uint64(n), d.VariableName(p.fixed)})
	}
	return out
}

// ExportedConstants are the constants that both images define for others under
// one name, and whose content differs: other images go on reading the old one.
func (d *Diff) ExportedConstants() []Value {
	var out []Value
	constant := func(c image.Class) bool { return c == image.ROData || c == image.RelRO }
	for _, o := range d.data.objects.fixed {
		s, ok := d.Fixed.Dynamic(o.name)
		if !ok || o.base == nil || s.Addr != o.addr || !constant(d.Fixed.ClassAt(o.addr)) || !constant(d.Base.ClassAt(o.base.addr)) {
			continue
		}
		if _, ok := d.Base.Dynamic(o.name); !ok {
			continue
		}
		if n := min(o.size, o.base.size); o.size != o.base.size || d.valueDiffers(o.base.addr, o.addr, n) {
			out = append(out, Value{o.base.addr, o.addr, uint64(n), o.name})
		}
	}
	return out
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
		return na > 1 && nb > 1 && NoiseStrings(string(x[:min(na-1, len(x))]), string(y[:min(nb-1, len(y))]), d.options.BaseVersion, d.options.FixedVersion)
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

// VariableName names a place of the fixed image for messages: a symbol, or its
// address.
func (d *Diff) VariableName(a image.Addr) string { return variableName(d.Fixed, a) }

// BaseVariableName is VariableName for the base image.
func (d *Diff) BaseVariableName(a image.Addr) string { return variableName(d.Base, a) }

func variableName(c *Code, a image.Addr) string {
	for _, s := range c.SymbolsAt(a) {
		return s.Name
	}
	return fmt.Sprintf("%#x", uint64(a))
}

// Starters are the functions in .init_array and its kin, in order.
func (c *Code) Starters() []*Func {
	var out []*Func
	for _, s := range c.Sections {
		if s.Class != image.Init {
			continue
		}
		for _, r := range c.RelocsIn(s.Addr, s.Addr+s.Size) {
			if t, ok := Pointee(&r); ok {
				if f := c.Entry(t); f != nil {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// Startup are the changed or new functions that run only while the image is
// loaded or ended: those in .init_array and its kin, and what only they reach.
// Replacing them has no effect on a process that has already started.
func (d *Diff) Startup() []*Func {
	only := d.onlyFrom(d.Fixed.Starters())
	var out []*Func
	for i, f := range d.Fixed.Funcs {
		if only[i] && (d.state[i] == Changed || d.state[i] == New) {
			out = append(out, f)
		}
	}
	return out
}

// SameStarters says whether .init_array and its kin hold the same functions.
func (d *Diff) SameStarters() bool {
	x, y := d.Base.Starters(), d.Fixed.Starters()
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if d.baseOf[y[i].Index] != x[i] {
			return false
		}
	}
	return true
}

// onlyFrom marks the functions that nothing but roots (and what is marked)
// refers to.
func (d *Diff) onlyFrom(roots []*Func) []bool {
	c := d.Fixed
	users := make([]int, len(c.Funcs)) // references from unmarked code and from data
	refs := func(f *Func, fn func(*Func)) {
		for k := range f.Refs {
			if f.Refs[k].Class == image.Text {
				if g := c.At(f.Refs[k].Target); g != nil && g != f {
					fn(g)
				}
			}
		}
	}
	for _, f := range c.Funcs {
		refs(f, func(g *Func) { users[g.Index]++ })
		if len(f.Names) > 0 && d.exported(f) {
			users[f.Index]++
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok && c.ClassAt(c.Relocs[i].At) != image.Init {
			if g := c.At(t); g != nil {
				users[g.Index]++
			}
		}
	}
	marked := make([]bool, len(c.Funcs))
	var work []*Func
	for _, f := range roots {
		if users[f.Index] == 0 && !marked[f.Index] {
			marked[f.Index] = true
			work = append(work, f)
		}
	}
	for len(work) > 0 {
		f := work[len(work)-1]
		work = work[:len(work)-1]
		refs(f, func(g *Func) {
			users[g.Index]--
			if users[g.Index] == 0 && !marked[g.Index] {
				marked[g.Index] = true
				work = append(work, g)
			}
		})
	}
	return marked
}

// exported says whether other images may call f by name.
func (d *Diff) exported(f *Func) bool { return exportedFrom(d.Fixed, f) }

func exportedFrom(c *Code, f *Func) bool {
	for _, n := range f.Names {
		if s, ok := c.Dynamic(n); ok && s.Addr == f.Lo {
			return true
		}
	}
	return false
}

// Main is the function that _start hands to the C library: the one by that
// name, or the one whose address the only caller of __libc_start_main takes.
func (c *Code) Main() *Func {
	for _, f := range c.Funcs {
		for _, n := range f.Names {
			if n == "main" {
				return f
			}
		}
	}
	for _, f := range c.Funcs {
		if f.Insts > 40 {
			continue
		}
		var taken *Func
		starts := false
		for k := range f.Refs {
			r := &f.Refs[k]
			switch {
			case r.Kind == Lea && r.Class == image.Text:
				taken = c.Entry(r.Target)
			case r.Class == image.GOT:
				if s := c.RelocAt(r.Target); s != nil && strings.HasPrefix(s.Sym, "__libc_start_main") {
					starts = true
				}
			}
		}
		if starts {
			return taken
		}
	}
	return nil
}
