package diff

import (
	"fmt"
	"strings"

	"hotpatch/internal/image"
)

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
			out = append(out, Value{Base: o.base.addr, Fixed: o.addr, Size: uint64(n), Name: o.name})
		}
	}
	return out
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
