package diff

import (
	"bytes"
	"debug/elf"
	"slices"

	"hotpatch/internal/image"
)

// When is a variable, of which nobody has voted where it was, a new one? Only
// when the base image can have no such variable: it would be bound to a place
// of its own, and what the running program keeps would be lost.

// noRoom proves a variable new: whatever lay between the neighbours in the base
// image is too short to reach v from either side, and base code refers to
// nothing there.
func (m *dataMap) noRoom(v image.Addr, lo, hi *point) bool {
	if lo == nil || hi == nil || hi.base < lo.base || hi.fixed < lo.fixed || !m.sameSection(lo.base, hi.base) {
		return false
	}
	room := hi.base - lo.base
	used := image.Addr(1) // at least a byte at lo is lo's own
	if lo.how == Unmapped {
		used = 0 // the start of the section is no variable
	}
	if v-lo.fixed < room || hi.fixed-v+used <= room {
		return false
	}
	i, _ := slices.BinarySearch(m.baseRefs, lo.base+1)
	return i == len(m.baseRefs) || m.baseRefs[i] >= hi.base
}

// unreachable says that no code of the base image can come to a, where nothing
// refers to directly: not by the address of any object before it in the
// section. So what is there is nobody's: padding. The handle that the C
// start-up files put near the start of .data (a pointer to itself) is no object
// that anybody walks.
func (m *dataMap) unreachable(a image.Addr) bool {
	c := m.d.Base
	s := c.SectionAt(a)
	if s == nil || !s.Class.Writable() {
		return false
	}
	i, _ := slices.BinarySearch(c.heads, a+1)
	for _, h := range slices.Backward(c.heads[:i]) {
		if h < s.Addr {
			break
		}
		if _, known := slices.BinarySearch(m.addressed, h); known || h != s.Addr && !m.handle(h) || m.handle(h) && h+handleSize > a {
			return false
		}
	}
	// What is accessed without its address being taken ends with the access.
	// Code that nothing describes counts here.
	i, there := slices.BinarySearch(c.starts, a)
	const widest = 64
	return !there && (i == 0 || c.starts[i-1] < s.Addr || c.starts[i-1]+widest <= a || m.shortAccess(c.starts[i-1], a))
}

// padding says that what is between a and the next place that base code knows may
// be there for that one's alignment alone: it is empty and short. Otherwise it is
// part of an object that is known by a place in its middle (a pointer to buf+16),
// and that code may reach from there.
func (m *dataMap) padding(a, v image.Addr) bool {
	c := m.d.Base
	next, s := c.End(a), c.SectionAt(a)
	if len(bytes.Trim(c.Bytes(a, int(next-a)), "\x00")) > 0 || len(c.RelocsIn(a, next)) > 0 {
		return false
	}
	if next == s.Addr+s.Size {
		return next-a < word // so much linkers add
	}
	const most = 64
	return next-a < min(next&-next, most) && (!m.mayReach(a, next, v) || m.startsDifferently(a, v))
}

// word is the size of a pointer, and the alignment that linkers give sections.
const word = 8

// handleSize is that of __dso_handle, a pointer.
const handleSize = 8

// handle: a pointer to itself is stored at h.
func (m *dataMap) handle(h image.Addr) bool {
	r := m.d.Base.RelocAt(h)
	if r == nil {
		return false
	}
	t, ok := Pointee(r)
	return ok && t == h
}

// addressedPlaces are the addresses that code, pointers elsewhere or the names
// of objects know, sorted.
func addressedPlaces(c *Code) []image.Addr {
	var out []image.Addr
	for _, f := range c.Funcs {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == Lea && r.Class.Writable() {
				out = append(out, r.Target)
			}
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok && c.Relocs[i].At != t {
			out = append(out, t)
		}
	}
	for i := range c.Symbols {
		if c.Symbols[i].Type == elf.STT_OBJECT {
			out = append(out, c.Symbols[i].Addr)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shortAccess says that no access at p reaches up to a.
func (m *dataMap) shortAccess(p, a image.Addr) bool {
	for _, f := range m.d.Base.Funcs {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Target == p && p+image.Addr(max(r.Width, 1)) > a {
				return false
			}
		}
	}
	return true
}

// inserted proves a variable new that would fit into the base image, but only
// at the end of what is before it: that has the same content in both images
// over all of the room, so it did not give way.
func (m *dataMap) inserted(v image.Addr, lo, hi *point) bool {
	if lo == nil || hi == nil || lo.how == Unmapped || hi.base <= lo.base || hi.fixed < lo.fixed || !m.sameSection(lo.base, hi.base) {
		return false
	}
	room := hi.base - lo.base
	if v-lo.fixed < room || hi.fixed-lo.fixed <= room {
		return false
	}
	if i, _ := slices.BinarySearch(m.baseRefs, lo.base+1); i < len(m.baseRefs) && m.baseRefs[i] < hi.base {
		return false
	}
	return m.alikeInitially(lo.base, lo.fixed, room) && !m.endsAlike(hi, v)
}

// endsAlike: what the base image has as far before hi as v is now starts as v
// does, so it may be v that gave way, all of it up to hi and beyond, and what is
// before it that is shorter.
func (m *dataMap) endsAlike(hi *point, v image.Addr) bool {
	a := hi.base - (hi.fixed - v)
	s := m.d.Base.SectionAt(a)
	return s != nil && s == m.d.Base.SectionAt(hi.base-1) && m.mayReach(a, hi.base, v) && !m.startsDifferently(a, v)
}

// mayReach: an array may start at a, which is v in the fixed image, that code goes
// over from there or comes to from next. Arrays of 16 bytes and more are aligned to
// 16 (psABI §3.1.2).
func (m *dataMap) mayReach(a, next, v image.Addr) bool {
	const aligned = 16
	_, known := slices.BinarySearch(m.addressed, next)
	_, taken := slices.BinarySearch(m.d.Fixed.heads, v)
	return (known || taken) && a%aligned == 0 && v%aligned == 0
}

// settled decides between places that aligned instructions name for v: where
// both neighbours put it, base code refers to it, and it starts with the same
// content; at none of the others it does. How long a variable is, a stripped
// file does not tell: where another of the places begins, it has ended, and two
// that differ only in what follows them are not told apart.
func (m *dataMap) settled(v image.Addr, lo, hi *point) (image.Addr, bool) {
	p, ok := m.placeAt(v)
	if !ok || lo == nil || hi == nil || lo.delta() != hi.delta() || !m.sameSection(lo.base, hi.base) {
		return 0, false
	}
	a := v - image.Addr(lo.delta())
	n := m.d.Fixed.ObjectEnd(v) - v
	if _, referred := slices.BinarySearch(m.baseRefs, a); !referred || !m.alikeInitially(a, v, n) {
		return 0, false
	}
	named := false
	for _, w := range p.votes {
		named = named || w.base == a
		if w.base != a {
			n = min(n, max(w.base, a)-min(w.base, a))
		}
	}
	for _, w := range p.votes {
		if w.base != a && m.alikeInitially(w.base, v, n) {
			return 0, false
		}
	}
	return a, named
}

// grown: from v to hi nothing else begins, nor from a to what hi was, and there
// is more room now. Where a variable was inserted, something would begin there.
func (m *dataMap) grown(a, v image.Addr, hi *point) bool {
	c, d := m.d.Base, m.d.Fixed // less than a word may be padding
	return hi != nil && hi.base > a && hi.fixed > v && d.End(v) >= hi.fixed && c.End(a) >= hi.base && hi.fixed-v >= hi.base-a+word
}

// alikeInitially compares the initial n bytes of two variables: plain bytes,
// where pointers are, and the strings that these lead to. Nothing but zeros
// says nothing.
func (m *dataMap) alikeInitially(a, v, n image.Addr) bool {
	return m.equalInitially(a, v, n) && m.hasContent(v, n)
}

// hasContent: pointers, or bytes other than zeros.
func (m *dataMap) hasContent(v, n image.Addr) bool {
	d := m.d.Fixed
	return len(d.RelocsIn(v, v+n)) > 0 || len(bytes.Trim(d.Bytes(v, int(n)), "\x00")) > 0
}

func (m *dataMap) equalInitially(a, v, n image.Addr) bool {
	c, d := m.d.Base, m.d.Fixed
	x, y := slices.Clone(c.Bytes(a, int(n))), slices.Clone(d.Bytes(v, int(n)))
	p, q := c.RelocsIn(a, a+n), d.RelocsIn(v, v+n)
	if len(x) != int(n) || len(y) != int(n) || len(p) != len(q) {
		return false
	}
	for i := range p {
		at := p[i].At - a
		if q[i].At-v != at || p[i].Type != q[i].Type || p[i].Sym != q[i].Sym {
			return false
		}
		s, okS := Pointee(&p[i])
		t, okT := Pointee(&q[i])
		if okS != okT || okS && (c.ClassAt(s) != d.ClassAt(t) || c.CString(s) != d.CString(t) || !bytes.Equal(c.Bytes(s, c.CString(s)), d.Bytes(t, d.CString(t)))) {
			return false
		}
		clear(x[at:min(at+8, n)])
		clear(y[at:min(at+8, n)])
	}
	return bytes.Equal(x, y)
}

// startsDifferently says that the first word at a and at v, as far as both
// belong to it, has another initial value: then it may be another variable that
// has taken the place of one that went. Of pointers only the kind is looked at:
// what they lead to asks for this map in turn.
func (m *dataMap) startsDifferently(a, v image.Addr) bool {
	c, d := m.d.Base, m.d.Fixed
	n := min(c.End(a)-a, d.End(v)-v, word)
	p, q := c.RelocsIn(a, a+n), d.RelocsIn(v, v+n)
	if len(p) > 0 && len(q) > 0 {
		s, okS := Pointee(&p[0])
		t, okT := Pointee(&q[0])
		return okS && okT && kindOf(c.ClassAt(s)) != kindOf(d.ClassAt(t))
	}
	if len(p) > 0 || len(q) > 0 {
		return true
	}
	// .bss has no bytes: zeros
	x, y := make([]byte, n), make([]byte, n)
	copy(x, c.Bytes(a, int(n)))
	copy(y, d.Bytes(v, int(n)))
	return !bytes.Equal(x, y)
}

// kindOf tells apart what pointers lead to: code, constants and variables.
func kindOf(c image.Class) image.Class {
	switch {
	case c == image.RelRO:
		return image.ROData
	case c.Writable():
		return image.Data
	}
	return c
}
