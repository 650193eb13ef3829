package diff

import "hotpatch/internal/image"

// succeeds says that what is at v in the fixed image may be another variable
// that took the place of the one at a in the base image, which went: of all the
// functions that use one or the other, none has a counterpart that uses the
// other, be it through functions that were inlined or split off.
//
// Where a pointer in data leads to either, or neither the users of one nor
// those of the other have counterparts, nothing can be said.
func (m *dataMap) succeeds(a, v image.Addr) bool {
	was, known := m.d.Base.users(a)
	is, too := m.d.Fixed.users(v)
	if !known || !too || len(was) == 0 || len(is) == 0 {
		return false
	}
	gone, fresh := false, false
	for f := range is {
		g := m.d.baseOf[f.Index]
		fresh = fresh || g == nil
		if g != nil && m.d.Base.leadsTo(g, was) {
			return false
		}
	}
	for g := range was {
		f := m.d.fixedOf[g.Index]
		gone = gone || f == nil
		if f != nil && m.d.Fixed.leadsTo(f, is) {
			return false
		}
	}
	return !gone || !fresh
}

// users are the functions that refer to the variable at a; not known: a pointer
// in data leads there.
func (c *Code) users(a image.Addr) (out map[*Func]bool, known bool) {
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok && t == a {
			return nil, false
		}
	}
	out = map[*Func]bool{}
	for _, f := range c.Funcs {
		for k := range f.Refs {
			if f.Refs[k].Target == a && f.described() {
				out[f] = true
			}
		}
	}
	return out, true
}

// leadsTo says that f is one of to or calls one, directly or through few others.
func (c *Code) leadsTo(f *Func, to map[*Func]bool) bool {
	const depth = 3
	seen := map[*Func]bool{f: true}
	level := []*Func{f}
	for range depth + 1 {
		var next []*Func
		for _, g := range level {
			if to[g] {
				return true
			}
			for k := range g.Refs {
				r := &g.Refs[k]
				if r.Class != image.Text {
					continue
				}
				if h := c.At(r.Target); h != nil && !seen[h] {
					seen[h] = true
					next = append(next, h)
				}
			}
		}
		level = next
	}
	return false
}
