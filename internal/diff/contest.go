package diff

import (
	"cmp"
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// A function that uses another variable than before has the same code, so its
// votes are wrong, and nothing in the function shows it. What all votes say
// together does, since variables that only moved keep three things: a place of
// the base image is one place of the fixed image, and the other way round;
// their order, for the same compiler puts the same variables into the same
// order; and their distances, wherever nothing came or went between them.
// contest marks the points that break one of these. Nothing is bound to what
// they say, and the functions that said it count as changed.
//
// What breaks none of them needs no care: a base image and a fixed one between
// whose variables there is such a mapping are the same program, whatever the
// names in its source are.

// outvoted is the number of functions that are believed against all signs:
// they cannot all have changed in the same way.
const outvoted = 20

// reliable says that the point may be held against others.
func (p *point) reliable() bool { return !p.soft && !p.end && p.doubt == "" }

// contest marks the doubtful points of every section of variables.
func (m *dataMap) contest() {
	m.claims = m.claims[:0]
	for i := range m.places {
		for _, v := range m.places[i].votes {
			m.claims = append(m.claims, claimed{v.base, v.fixed, v.firm > 0})
		}
	}
	slices.SortFunc(m.claims, func(a, b claimed) int {
		return cmp.Or(compareAddr(a.base, b.base), compareAddr(a.fixed, b.fixed))
	})
	for i := 0; i < len(m.points); {
		s := m.d.Fixed.SectionAt(m.points[i].fixed)
		j := i + 1
		for j < len(m.points) && m.d.Fixed.SectionAt(m.points[j].fixed) == s {
			j++
		}
		if s != nil && s.Class.Writable() {
			m.contestIn(s, m.points[i:j])
		}
		i = j
	}
	m.contestMoved()
}

// claimed is one claim of votes, by base address.
type claimed struct {
	base, fixed image.Addr
	firm        bool
}

// claimedBy are the places of the fixed image that votes take for base.
func (m *dataMap) claimedBy(base image.Addr) []claimed {
	i, _ := slices.BinarySearchFunc(m.claims, base, func(c claimed, a image.Addr) int { return compareAddr(c.base, a) })
	j := i
	for j < len(m.claims) && m.claims[j].base == base {
		j++
	}
	return m.claims[i:j]
}

// contestIn is for the points of one section.
func (m *dataMap) contestIn(s *image.Section, pts []point) {
	t := m.sectionLike(s)
	if t == nil {
		return
	}
	var in []*point
	for i := range pts {
		p := &pts[i]
		if p.soft || p.base < t.Addr || p.base > t.Addr+t.Size {
			continue
		}
		behind := s.Addr + s.Size
		if k := slices.IndexFunc(pts[i+1:], func(q point) bool { return !q.soft }); k >= 0 {
			behind = pts[i+1+k].fixed
		}
		if m.mayBeEnd(p, in, behind) {
			p.end = true
			continue
		}
		in = append(in, p)
	}
	kept := m.inOrder(in)
	m.contestDistances(s, t, kept)
}

// mayBeEnd: whoever takes the address of p may mean the end of what is before
// it, since that is as far from there as it was, and others find a little
// farther what starts there in the base image: up to behind, the next point.
func (m *dataMap) mayBeEnd(p *point, before []*point, behind image.Addr) bool {
	if p.how != Voted || p.reads || len(before) == 0 || before[len(before)-1].delta() != p.delta() {
		return false
	}
	return slices.ContainsFunc(m.claimedBy(p.base), func(c claimed) bool { return c.fixed > p.fixed && c.fixed <= behind })
}

// votedElsewhere: functions with equal code find at another place than v what
// was at base.
func (m *dataMap) votedElsewhere(base, v image.Addr) bool {
	return slices.ContainsFunc(m.claimedBy(base), func(c claimed) bool { return c.fixed != v && c.firm })
}

// led is a pointer in data that both images have, and where it leads.
type led struct{ base, fixed image.Addr }

// followPointers looks at the pointers in variables whose place is known.
func (m *dataMap) followPointers() (out []led) {
	for i := range m.d.Fixed.Relocs {
		q := &m.d.Fixed.Relocs[i]
		to, ok := Pointee(q)
		if !ok || !m.d.Fixed.ClassAt(to).Writable() {
			continue
		}
		slot := m.find(q.At)
		if !slot.OK() {
			continue
		}
		if p := m.d.Base.RelocAt(slot.Base); p != nil {
			if from, ok := Pointee(p); ok && m.d.Base.ClassAt(from).Writable() {
				out = append(out, led{from, to})
			}
		}
	}
	return out
}

// ledElsewhere: a pointer that leads to base leads in the fixed image to another
// place than v, or one that leads to v came from elsewhere.
func (m *dataMap) ledElsewhere(base, v image.Addr) bool {
	return slices.ContainsFunc(m.led, func(l led) bool { return (l.base == base) != (l.fixed == v) })
}

// wantedElsewhere: something takes another place than v for what was at base, and
// nothing better is known of that place. Where a new variable has moved twins by
// one, each stands where another was.
func (m *dataMap) wantedElsewhere(base, v image.Addr) bool {
	return slices.ContainsFunc(m.claimedBy(base), func(c claimed) bool {
		p := m.pointAt(c.fixed)
		return c.fixed != v && (p == nil || !p.reliable())
	})
}

// rivalled: aligned instructions take another place than v, too, for what was at
// w.base; they are not clearly fewer, and nothing better is known of that place.
// One that what is known around it rules out is no rival: the alignment of that
// function is wrong there.
func (m *dataMap) rivalled(w *vote, v image.Addr) bool {
	return slices.ContainsFunc(m.claimedBy(w.base), func(c claimed) bool {
		if c.fixed == v {
			return false
		}
		if _, clear := slices.BinarySearchFunc(m.points, c.fixed, func(p point, a image.Addr) int { return compareAddr(p.fixed, a) }); clear {
			return false
		}
		p, ok := m.placeAt(c.fixed)
		if !ok || m.outOfOrder(c.fixed, c.base) {
			return false
		}
		best, _ := p.best(weakly)
		return best != nil && best.base == w.base && 2*best.weak > w.weak
	})
}

// outOfOrder: reliable points around the place v of the fixed image say that
// what was at base in the base image is not there.
func (m *dataMap) outOfOrder(v, base image.Addr) bool {
	s := m.d.Fixed.SectionAt(v)
	if s == nil {
		return false
	}
	k, _ := slices.BinarySearchFunc(m.points, v, func(p point, a image.Addr) int { return compareAddr(p.fixed, a) })
	lo, hi := m.neighbour(k-1, -1, s), m.neighbour(k, +1, s)
	return lo != nil && base <= lo.base && m.sameSection(lo.base, base) || hi != nil && base >= hi.base && m.sameSection(hi.base, base)
}

// inOrder keeps the points that are in the same order in both images, as many
// and as well founded as can be, and marks the others.
func (m *dataMap) inOrder(in []*point) []*point {
	weights := make([]int32, len(in))
	for i, p := range in {
		weights[i] = min(p.support, outvoted)
		if i > 0 && in[i-1].delta() == p.delta() || i+1 < len(in) && in[i+1].delta() == p.delta() {
			weights[i] += outvoted
		}
		if p.how == Named {
			weights[i] = 50 * outvoted
		}
	}
	keep := heaviest(in, weights)
	var kept []*point
	for i, p := range in {
		switch {
		case keep[i]:
			kept = append(kept, p)
		case p.support < outvoted:
			p.doubt = "that is out of the order in which others are found"
		}
	}
	return kept
}

// heaviest chooses points whose base addresses increase, for the greatest
// total weight; a tree of prefix maxima, O(n log n).
func heaviest(in []*point, weights []int32) []bool {
	keep := make([]bool, len(in))
	bases := make([]image.Addr, len(in))
	increases := true
	for i, p := range in {
		bases[i] = p.base
		increases = increases && (i == 0 || bases[i-1] < p.base)
	}
	if increases {
		for i := range keep {
			keep[i] = true
		}
		return keep
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	type best struct {
		total int32
		last  int // index of the point, -1 for none
	}
	tree := make([]best, len(bases)+1)
	for i := range tree {
		tree[i].last = -1
	}
	prev := make([]int, len(in))
	top := best{0, -1}
	for i, p := range in {
		k, _ := slices.BinarySearch(bases, p.base)
		b := best{0, -1}
		for j := k; j > 0; j &= j - 1 { // those with a lower base address
			if tree[j].total > b.total {
				b = tree[j]
			}
		}
		prev[i] = b.last
		b = best{b.total + weights[i], i}
		if b.total > top.total {
			top = b
		}
		for j := k + 1; j < len(tree); j += j & -j {
			if b.total > tree[j].total {
				tree[j] = b
			}
		}
	}
	for i := top.last; i >= 0; i = prev[i] {
		keep[i] = true
	}
	return keep
}

// contestDistances doubts points between others. A run of them with one
// distance has moved otherwise than what is around it: that is believed when
// something came or went on one side of it. What came on one side may also be
// as large as what went on the other, padding perhaps, but not when a single
// function says so. Nor is a single one believed that makes two steps of one.
func (m *dataMap) contestDistances(s, t *image.Section, kept []*point) {
	start, end := int64(s.Addr-t.Addr), int64(s.Addr+s.Size)-int64(t.Addr+t.Size)
	const padding = 8 // at the end of .bss
	for i := 0; i < len(kept); {
		j, by := i, nobody
		for ; j < len(kept) && kept[j].delta() == kept[i].delta(); j++ {
			by = by.with(kept[j].by)
		}
		d, lo, hi := kept[i].delta(), start, end
		if i > 0 {
			lo = kept[i-1].delta()
		}
		if j < len(kept) {
			hi = kept[j].delta()
		} else if d-hi < padding && hi-d < padding {
			hi = d
		}
		beyond := d < min(lo, hi) || d > max(lo, hi)
		if by != several && (beyond || j-i == 1 && d != lo && d != hi) {
			for _, p := range kept[i:j] {
				p.doubt = fmt.Sprintf("it moved by %+d bytes, what is before it by %+d and what is behind it by %+d", d, lo, hi)
			}
		}
		i = j
	}
}

// contestMoved doubts points that lead into another section than before. A
// variable that got an initial value, or lost its, moves from one to the other,
// and leaves a gap in the first and makes room in the second.
func (m *dataMap) contestMoved() {
	var by []*point // reliable ones, by base address
	for i := range m.points {
		if p := &m.points[i]; p.reliable() {
			by = append(by, p)
		}
	}
	slices.SortStableFunc(by, func(a, b *point) int { return compareAddr(a.base, b.base) })
	for i := range m.points {
		p := &m.points[i]
		s, t := m.d.Fixed.SectionAt(p.fixed), m.d.Base.SectionAt(p.base)
		if p.soft || p.how == Named || s == nil || t == nil || !s.Class.Writable() || s.Name == t.Name || p.support >= outvoted {
			continue
		}
		lo, hi := m.neighbour(i-1, -1, s), m.neighbour(i+1, +1, s)
		roomFor := lo == nil || hi == nil || lo.delta() != hi.delta()
		k, _ := slices.BinarySearchFunc(by, p.base, func(q *point, a image.Addr) int { return compareAddr(q.base, a) })
		left := k > 0 && k < len(by) && m.d.Base.SectionAt(by[k-1].base) == t && by[k].base > p.base && m.d.Base.SectionAt(by[k].base) == t &&
			m.d.Fixed.SectionAt(by[k-1].fixed) == m.d.Fixed.SectionAt(by[k].fixed) && by[k-1].delta() == by[k].delta()
		if p.by != several || m.elsewhere(p.base, p.fixed) || !roomFor && left {
			p.doubt = fmt.Sprintf("it was in %s, and is in %s now", t.Name, s.Name)
		}
	}
}

// crossing finds the places of which only pairs by order say anything, and what
// they say is out of the order in which all such pairs, and the reliable points,
// find the variables. Pairs by order are so in the order of the code, which the
// order of variables does not follow: of twins, where one went and another came,
// the pairs that are shifted show here.
func (m *dataMap) crossing() (crossed []image.Addr) {
	for i := 0; i < len(m.places); {
		s := m.d.Fixed.SectionAt(m.places[i].fixed)
		j := i + 1
		for j < len(m.places) && m.d.Fixed.SectionAt(m.places[j].fixed) == s {
			j++
		}
		if s != nil && s.Class.Writable() {
			crossed = append(crossed, m.crossingIn(m.places[i:j], m.sectionLike(s))...)
		}
		i = j
	}
	return crossed
}

// isCrossed says whether crossing found the place.
func (m *dataMap) isCrossed(v image.Addr) bool {
	_, found := slices.BinarySearch(m.crossed, v)
	return found
}

func (m *dataMap) crossingIn(places []place, t *image.Section) (crossed []image.Addr) {
	var in []*point
	var weights []int32
	for i := range places {
		p := &places[i]
		q := m.pointAt(p.fixed)
		sure := q != nil && q.reliable()
		switch v := &p.votes[0]; {
		case sure:
			in, weights = append(in, q), append(weights, 50*outvoted)
		case len(p.votes) == 1 && v.soft > 0 && t != nil && v.base >= t.Addr && v.base <= t.Addr+t.Size:
			in, weights = append(in, &point{fixed: p.fixed, base: v.base, soft: true}), append(weights, min(v.soft, outvoted))
		}
	}
	for i, kept := range heaviest(in, weights) {
		if !kept && in[i].soft {
			crossed = append(crossed, in[i].fixed)
		}
	}
	return crossed
}

// arbitrate decides places of which functions with equal code disagree: some of
// them have changed. What remains, when everything is left out that is out of
// order or may be the end of what is before, must have moved as far as a
// neighbour.
func (m *dataMap) arbitrate() {
	var more []point
	for i := range m.places {
		p := &m.places[i]
		k, known := slices.BinarySearchFunc(m.points, p.fixed, func(q point, a image.Addr) int { return compareAddr(q.fixed, a) })
		s := m.d.Fixed.SectionAt(p.fixed)
		if known || s == nil || !s.Class.Writable() || !p.disputed() {
			continue
		}
		lo, hi := m.borders(s, m.neighbour(k-1, -1, s), m.neighbour(k, +1, s))
		var found *vote
		n := 0
		for j := range p.votes {
			v := &p.votes[j]
			if v.firm > 0 && within(v.base, lo, hi) && !m.endsThere(p, v, lo) && (v.delta() == lo.delta() || v.delta() == hi.delta()) {
				found = v
				n++
			}
		}
		if n == 1 {
			why := fmt.Sprintf("%s, with the neighbours; %s otherwise", count(int(found.firm), "function"), describeOthers(p, found))
			more = append(more, point{fixed: p.fixed, base: found.base, how: Voted, why: why, support: found.firm + found.weak, by: found.by, reads: found.reads > 0})
		}
	}
	if len(more) > 0 {
		m.points = append(m.points, more...)
		slices.SortFunc(m.points, func(a, b point) int { return compareAddr(a.fixed, b.fixed) })
	}
}

// endsThere: those who say so may mean the end of what is before, and others
// name something behind it.
func (m *dataMap) endsThere(p *place, v *vote, lo *point) bool {
	return v.reads == 0 && v.delta() == lo.delta() && slices.ContainsFunc(p.votes, func(w vote) bool { return w.firm > 0 && w.base > v.base })
}

func describeOthers(p *place, but *vote) string {
	n := 0
	for i := range p.votes {
		if p.votes[i].base != but.base {
			n += int(p.votes[i].firm)
		}
	}
	if n == 1 {
		return "1 says"
	}
	return fmt.Sprintf("%d say", n)
}

// within: base is between the two neighbours.
func within(base image.Addr, lo, hi *point) bool {
	return lo != nil && hi != nil && (lo.base < base || lo.how == Unmapped && lo.base == base) && base < hi.base
}

// disputed: functions with equal code say different things.
func (p *place) disputed() bool {
	f, second := p.best(firmly)
	return f != nil && second != nil
}

func (v *vote) delta() int64 { return int64(v.fixed - v.base) }

// sectionLike is the section of the base image with name and class of s.
func (m *dataMap) sectionLike(s *image.Section) *image.Section {
	var t *image.Section
	for _, x := range m.d.Base.Sections {
		if x.Name == s.Name && x.Class == s.Class {
			t = x
		}
	}
	return t
}

// elsewhere says that the variable at base is at another place of the fixed
// image than v, for all that is known.
func (m *dataMap) elsewhere(base, v image.Addr) bool {
	return slices.ContainsFunc(m.claimedBy(base), func(c claimed) bool {
		if c.fixed == v {
			return false
		}
		p := m.pointAt(c.fixed)
		return p != nil && p.base == base && p.reliable()
	})
}

func (m *dataMap) pointAt(v image.Addr) *point {
	i, ok := slices.BinarySearchFunc(m.points, v, func(p point, a image.Addr) int { return compareAddr(p.fixed, a) })
	if !ok {
		return nil
	}
	return &m.points[i]
}

// switched says that a function which used the variable at own in the base
// image uses another one now, which was at p.base: own is known to be somewhere
// else, or p has not moved otherwise than what is before and behind it.
func (m *dataMap) switched(own image.Addr, v image.Addr) bool {
	p := m.pointAt(v)
	if p == nil || !p.reliable() {
		return false
	}
	if m.elsewhere(own, v) {
		return true
	}
	s := m.d.Fixed.SectionAt(v)
	k, _ := slices.BinarySearchFunc(m.points, v, func(p point, a image.Addr) int { return compareAddr(p.fixed, a) })
	lo, hi := m.borders(s, m.neighbour(k-1, -1, s), m.neighbour(k+1, +1, s))
	return lo != nil && hi != nil && lo.delta() == p.delta() && hi.delta() == p.delta()
}

// inReach says that base is between the neighbours of v, so that what starts or
// ends there may be at v.
func (m *dataMap) inReach(base, v image.Addr) bool {
	s := m.d.Fixed.SectionAt(v)
	if s == nil {
		return true
	}
	k, _ := slices.BinarySearchFunc(m.points, v, func(p point, a image.Addr) int { return compareAddr(p.fixed, a) })
	lo, hi := m.neighbour(k-1, -1, s), m.neighbour(k, +1, s)
	return (lo == nil || lo.base <= base) && (hi == nil || base <= hi.base)
}
