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
	m.countUsage()
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

// anyOfThem says that v may be one of several variables, or none: between two
// neighbours, which did not move against each other, the images have different
// numbers of variables whose users are unknown in the other image, all of them,
// and v is one of these.
func (m *dataMap) anyOfThem(v image.Addr, lo, hi *point) bool {
	m.countUsage()
	if !m.stranger(v) {
		return false
	}
	differ, known := m.uneven[lo.fixed]
	if !known {
		fresh, gone := 0, 0
		for _, w := range m.usage[1].between(lo.fixed, hi.fixed) {
			if m.stranger(w) {
				fresh++
			}
		}
		for _, a := range m.usage[0].between(lo.base, hi.base) {
			if len(m.claimedBy(a)) == 0 && strangers(m.usage[0], a, m.d.fixedOf) {
				gone++
			}
		}
		differ = gone > 0 && gone != fresh
		m.uneven[lo.fixed] = differ
	}
	return differ
}

// uneven is why, in words.
const uneven = "of the variables between the neighbours, the images have different numbers that only new or removed functions use"

// stranger: nothing votes for v of the fixed image, and nothing that uses it has a
// counterpart.
func (m *dataMap) stranger(v image.Addr) bool {
	_, voted := m.placeAt(v)
	return !voted && strangers(m.usage[1], v, m.d.baseOf)
}

// strangers: code uses the variable at a, and none of it has a counterpart.
func strangers(u *usage, a image.Addr, counterpart []*Func) bool {
	users, known := u.of(a)
	for f := range users {
		if counterpart[f.Index] != nil {
			return false
		}
	}
	return known
}

// between lists the variables that code uses, behind lo and before hi.
func (u *usage) between(lo, hi image.Addr) (out []image.Addr) {
	i, _ := slices.BinarySearchFunc(u.users, lo+1, func(x user, a image.Addr) int { return compareAddr(x.to, a) })
	for ; i < len(u.users) && u.users[i].to < hi; i++ {
		if n := len(out); n == 0 || out[n-1] != u.users[i].to {
			out = append(out, u.users[i].to)
		}
	}
	return out
}

func (m *dataMap) countUsage() {
	if m.usage[0] == nil {
		m.usage = [2]*usage{m.d.Base.usage(), m.d.Fixed.usage()}
	}
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
