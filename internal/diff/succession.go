package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/image"
)

// succeeds says that what is at v in the fixed image may be another variable
// that took the place of the one at a in the base image, which went: of all the
// functions that use one or the other, none has a counterpart that uses the
// other, be it through functions that were inlined or split off.
//
// Where a pointer in data leads to either, or neither the users of one nor
// those of the other have counterparts, nothing can be said.
func (m *dataMap) succeeds(a, v image.Addr) bool {
	if m.usage[0] == nil {
		m.usage = [2]*usage{m.d.Base.usage(), m.d.Fixed.usage()}
	}
	was, known := m.usage[0].of(a)
	is, too := m.usage[1].of(v)
	if !known || !too {
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

// usage is who refers to the variables of an image.
type usage struct {
	users  []user       // by address
	stored []image.Addr // where pointers in data lead to, sorted
}

type user struct {
	to image.Addr
	f  *Func
}

func (c *Code) usage() *usage {
	var u usage
	for _, f := range c.Funcs {
		if !f.described() {
			continue
		}
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Class.Writable() {
				u.users = append(u.users, user{r.Target, f})
			}
		}
	}
	slices.SortFunc(u.users, func(a, b user) int { return cmp.Or(compareAddr(a.to, b.to), a.f.Index-b.f.Index) })
	u.users = slices.Compact(u.users)
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok {
			u.stored = append(u.stored, t)
		}
	}
	slices.Sort(u.stored)
	return &u
}

// of are the functions that refer to the variable at a; not known: nobody does,
// or a pointer in data leads there.
func (u *usage) of(a image.Addr) (out map[*Func]bool, known bool) {
	if _, stored := slices.BinarySearch(u.stored, a); stored {
		return nil, false
	}
	i, ok := slices.BinarySearchFunc(u.users, a, func(x user, a image.Addr) int { return compareAddr(x.to, a) })
	out = map[*Func]bool{}
	for ; ok && i < len(u.users) && u.users[i].to == a; i++ {
		out[u.users[i].f] = true
	}
	return out, len(out) > 0
}

// leadsTo says that f is one of to or calls one, directly or through few others;
// also where it calls too many to look at.
func (c *Code) leadsTo(f *Func, to map[*Func]bool) bool {
	const (
		depth = 3
		most  = 2000
	)
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
				if len(seen) > most {
					return true
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
