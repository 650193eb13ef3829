package build

import (
	"fmt"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// carrier decides which functions of the fixed image go into the object.
type carrier struct {
	d    *diff.Diff
	all  bool
	skip func(*diff.Func) bool // with all: leave these in place
	in   map[*diff.Func]bool
	list []*diff.Func // in order of address once chosen
	work []*diff.Func
}

// choose takes every changed function, the parts of what it takes, the new
// functions that these reach, and what they reach by a branch too short to
// leave the object. What tables reach is added while they are carried.
func (c *carrier) choose() {
	c.in = map[*diff.Func]bool{}
	for _, f := range c.d.Fixed.Funcs {
		if c.wanted(f) {
			c.add(f)
		}
	}
	c.follow()
	c.sort()
}

func (c *carrier) sort() {
	slices.SortFunc(c.list, func(a, b *diff.Func) int { return a.Index - b.Index })
}

func (c *carrier) wanted(f *diff.Func) bool {
	if f.Source == image.FromGap {
		return false
	}
	if c.all {
		return c.d.BaseOf(f) != nil && !c.skip(f)
	}
	state, _ := c.d.State(f)
	return state == diff.Changed
}

func (c *carrier) add(f *diff.Func) {
	if c.in[f] || c.all && c.skip(f) {
		return
	}
	c.in[f] = true
	c.list = append(c.list, f)
	c.work = append(c.work, f)
}

// follow adds what the newly added functions need.
func (c *carrier) follow() {
	for len(c.work) > 0 {
		f := c.work[len(c.work)-1]
		c.work = c.work[:len(c.work)-1]
		for _, p := range c.d.Parts(f) {
			c.add(p)
		}
		for k := range f.Refs {
			r := &f.Refs[k]
			g := c.target(r)
			if g == nil {
				continue
			}
			if r.Size != 4 && r.Form == diff.Relative && g.Source == image.FromFDE {
				c.add(g)
			}
			c.need(g)
		}
	}
}

// need adds g when the base image has nothing that could stand in for it.
func (c *carrier) need(g *diff.Func) {
	if c.d.BaseOf(g) == nil && g.Source != image.FromGap {
		c.add(g)
	}
}

// target is the function that a reference leads to, directly or through a PLT
// entry or GOT slot of a symbol that only the fixed image defines.
func (c *carrier) target(r *diff.Ref) *diff.Func {
	switch r.Class {
	case image.Text:
		return c.d.Fixed.At(r.Target)
	case image.PLT:
		if i, ok := c.d.Fixed.PLTName(r.Target); ok {
			return newExport(c.d, i)
		}
	case image.GOT:
		if s := c.d.Fixed.RelocAt(r.Target); s != nil && s.Sym != "" {
			return newExport(c.d, image.Import{Name: s.Sym, Version: s.Version})
		} else if s != nil {
			if t, ok := diff.Pointee(s); ok {
				return c.d.Fixed.Entry(t)
			}
		}
	}
	return nil
}

// newExport is the function that i stands for when the fixed image exports it,
// in that version, and the base image does not.
func newExport(d *diff.Diff, i image.Import) *diff.Func {
	s, ok := d.Fixed.Exported(i)
	if !ok {
		return nil
	}
	if _, old := d.Base.Exported(i); old {
		return nil
	}
	return d.Fixed.Entry(s.Addr)
}

// label is the name of a fixed function for people: its symbol, or fn_ with
// the address in the base image (a new function: in the fixed image).
func label(d *diff.Diff, f *diff.Func) string {
	if len(f.Names) > 0 {
		return f.Names[0]
	}
	if a := d.BaseOf(f); a != nil {
		return a.Name()
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}
