package diff

import "hotpatch/internal/image"

// findFragments recognises the cold parts that neither a name nor their unwind
// data gives away: those split off functions without a frame. Nobody calls
// them and nobody takes their address; one function alone jumps to them, by a
// conditional branch, which compilers do not make tail calls of; or they jump
// back into its middle; or they end in a trap or a call that does not return,
// and compilers do not make tail calls to such functions.
func (c *Code) findFragments() {
	type edges struct {
		from  *Func // the only one that jumps here
		cond  bool
		other bool // called, address taken, or jumped to by several
	}
	in := make([]edges, len(c.Funcs))
	reach := func(a image.Addr) *edges {
		if g := c.At(a); g != nil {
			return &in[g.Index]
		}
		return &edges{}
	}
	for _, f := range c.Funcs {
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Class != image.Text {
				continue
			}
			g := c.At(r.Target)
			if g == nil || g == f {
				continue
			}
			e := &in[g.Index]
			switch {
			case r.Kind != Jump && r.Kind != Cond, f.Source == image.FromGap, e.from != nil && e.from != f:
				e.other = true
			default:
				e.from, e.cond = f, e.cond || r.Kind == Cond
			}
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok {
			reach(t).other = true
		}
	}
	for i, f := range c.Funcs {
		e := &in[i]
		if f.Source != image.FromFDE || f.Fragment || len(f.Names) > 0 || e.from == nil || e.other {
			continue
		}
		f.Fragment = e.cond || c.jumpsInto(f, e.from) || !f.Exits && !f.leaves(e.from)
	}
}

// leaves says whether f jumps to other code than g.
func (f *Func) leaves(g *Func) bool {
	for k := range f.Refs {
		r := &f.Refs[k]
		if r.Kind == Jump && (r.Target < g.Lo || r.Target >= g.Hi) {
			return true
		}
	}
	return false
}

// jumpsInto says whether f jumps to a place in g that is not its entry.
func (c *Code) jumpsInto(f, g *Func) bool {
	for k := range f.Refs {
		r := &f.Refs[k]
		if (r.Kind == Jump || r.Kind == Cond) && r.Target > g.Lo && r.Target < g.Hi {
			return true
		}
	}
	return false
}
