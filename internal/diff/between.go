package diff

import (
	"fmt"
	"slices"
	"sort"

	"hotpatch/internal/image"
)

// Where is a place that no unchanged function refers to? Between its neighbours,
// where both moved by the same distance and nothing speaks against it.

// between maps an address that no unchanged function refers to.
func (m *dataMap) between(v image.Addr, s *image.Section, lo, hi *point) Binding {
	lo, hi = m.borders(s, lo, hi)
	weak, b := m.hint(v, lo, hi)
	if b.Why != "" {
		if at, ok := m.settled(v, lo, hi); ok {
			return Binding{Base: at, How: Interpolated, Why: "both neighbours agree, some aligned instructions, and its initial content"}
		}
		return b
	}
	if lo != nil && hi != nil && m.sameSection(lo.base, hi.base) {
		if lo.delta() == hi.delta() {
			a := v - image.Addr(lo.delta())
			switch _, referred := slices.BinarySearch(m.baseRefs, a); {
			case m.votedElsewhere(a, v):
				return unmapped("the neighbours put it at %#x, which others find elsewhere", uint64(a))
			case m.ledElsewhere(a, v):
				return unmapped("the neighbours put it at %#x, but of the pointers in data that lead to either some lead elsewhere in the other image", uint64(a))
			case weak != nil && weak.base == a && m.startsDifferently(a, v):
				return unmapped("aligned instructions and both neighbours say %#x, which starts with another value", uint64(a))
			case weak != nil && weak.base == a && m.rivalled(weak, v):
				return unmapped("aligned instructions say %#x, which they find elsewhere, too", uint64(a))
			case weak != nil && weak.base == a:
				return Binding{Base: a, How: Witnessed, Why: "aligned instructions and both neighbours agree"}
			case weak != nil:
				return unmapped("aligned instructions say %#x, the neighbours %#x", uint64(weak.base), uint64(a))
			case referred && m.wantedElsewhere(a, v):
				return unmapped("the neighbours put it at %#x, which functions paired by order, or aligned instructions, find at a place that is not known otherwise", uint64(a))
			case referred && m.startsDifferently(a, v):
				return unmapped("the neighbours put it at %#x, which starts with another value", uint64(a))
			case referred && m.succeeds(a, v):
				return unmapped("the neighbours put it at %#x, but no function that refers to one has a counterpart that refers to the other", uint64(a))
			case m.anyOfThem(v, lo, hi):
				return unmapped("the neighbours put it at %#x, but it may be another: %s", uint64(a), uneven)
			case referred:
				return Binding{Base: a, How: Interpolated, Why: "both neighbours agree and base code refers to it"}
			}
			if n := min(m.d.Base.End(a)-a, m.d.Fixed.End(v)-v); n >= word && m.restAlike(a, v, n) {
				return Binding{Base: a, How: Interpolated, Why: "both neighbours agree and its initial content"}
			}
			if m.unreachable(a) && m.padding(a, v) {
				return Binding{How: NewVariable, Why: fmt.Sprintf("nothing in the base image can reach %#x, where the neighbours put it", uint64(a))}
			}
			return unmapped("base code never refers to %#x, where the neighbours put it", uint64(a))
		}
	}
	if weak != nil && m.startsDifferently(weak.base, v) {
		return unmapped("aligned instructions say %#x, which starts with another value", uint64(weak.base))
	}
	if weak != nil && m.rivalled(weak, v) {
		return unmapped("aligned instructions say %#x, which they find elsewhere, too", uint64(weak.base))
	}
	if weak != nil && m.grown(weak.base, v, hi) {
		return unmapped("aligned instructions say %#x, but it is longer now, and nothing else begins behind it", uint64(weak.base))
	}
	if weak != nil {
		return Binding{Base: weak.base, How: Aligned, Why: count(int(weak.weak), "changed function") + " aligned"}
	}
	if m.noRoom(v, lo, hi) {
		return Binding{How: NewVariable, Why: "the base image has no room for it between its neighbours"}
	}
	if m.inserted(v, lo, hi) {
		return Binding{How: NewVariable, Why: "what is before it fills all the room there is in the base image, with the same content"}
	}
	if lo != nil && hi != nil {
		return unmapped("its neighbours moved by different distances (%+d, %+d)", lo.delta(), hi.delta())
	}
	return unmapped("it has no neighbours that are mapped")
}

// hint is what aligned instructions say of v, nil for nothing. Addresses that
// something else is mapped to, or out of order, do not count; what remains
// must be one.
func (m *dataMap) hint(v image.Addr, lo, hi *point) (*vote, Binding) {
	p, ok := m.placeAt(v)
	if !ok {
		return nil, Binding{}
	}
	var found *vote
	for i := range p.votes {
		w := &p.votes[i]
		if _, taken := slices.BinarySearch(m.taken, w.base); taken || w.weak == 0 {
			continue
		}
		if lo != nil && w.base <= lo.base || hi != nil && w.base >= hi.base {
			continue
		}
		if found != nil {
			return nil, unmapped("aligned instructions disagree: %s", describe(p))
		}
		found = w
	}
	return found, Binding{}
}

// borders replaces missing neighbours by the ends of the section, where both
// images have it.
func (m *dataMap) borders(s *image.Section, lo, hi *point) (*point, *point) {
	t := m.sectionLike(s)
	if t == nil {
		return lo, hi
	}
	if lo == nil && (hi == nil || hi.base >= t.Addr && hi.base <= t.Addr+t.Size) {
		lo = &point{fixed: s.Addr, base: t.Addr, how: Unmapped}
	}
	if hi == nil && lo.base >= t.Addr && lo.base <= t.Addr+t.Size {
		hi = &point{fixed: s.Addr + s.Size, base: t.Addr + t.Size, how: Unmapped}
	}
	return lo, hi
}

// neighbour is the nearest reliable point below (dir -1) or above (+1) index i
// in the section s.
func (m *dataMap) neighbour(i, dir int, s *image.Section) *point {
	for ; i >= 0 && i < len(m.points); i += dir {
		p := &m.points[i]
		if p.fixed < s.Addr || p.fixed > s.Addr+s.Size {
			return nil
		}
		if p.reliable() {
			return p
		}
	}
	return nil
}

func (m *dataMap) sameSection(a, b image.Addr) bool {
	s := m.d.Base.SectionAt(a)
	return s != nil && b >= s.Addr && b <= s.Addr+s.Size
}

// slotOf maps a slot of a table: the nearest point below that is not beyond
// the table's start, with the same offset.
func (d *Diff) slotOf(at image.Addr) (image.Addr, bool) {
	m := &d.data
	if b := m.find(at); b.OK() {
		return b.Base, true
	}
	s := d.Fixed.SectionAt(at)
	if s == nil || s.Class != image.Data && s.Class != image.RelRO {
		return 0, false
	}
	k := sort.Search(len(m.points), func(i int) bool { return m.points[i].fixed > at })
	lo, hi := m.neighbour(k-1, -1, s), m.neighbour(k, +1, s)
	if to, ok := m.inObject(at); ok {
		return to, true
	}
	if lo == nil {
		return 0, false
	}
	if hi != nil && hi.delta() == lo.delta() || d.Fixed.End(lo.fixed) > at {
		return at - image.Addr(lo.delta()), true
	}
	return 0, false
}

// inObject maps a place inside an object whose start is mapped, when that has
// the same size in both images.
func (m *dataMap) inObject(at image.Addr) (image.Addr, bool) {
	c := m.d.Fixed
	i, there := slices.BinarySearch(c.heads, at)
	if there || i == 0 {
		return 0, false
	}
	head := c.heads[i-1]
	b := m.find(head)
	if !b.OK() || c.SectionAt(head) != c.SectionAt(at) {
		return 0, false
	}
	end, was := c.ObjectEnd(head), m.d.Base.ObjectEnd(b.Base)
	return b.Base + (at - head), at < end && end-head == was-b.Base
}
