package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// Which places of the fixed image have a counterpart in the base image? Functions
// that pair vote with what they refer to; what is clear becomes a point of the
// map. What is said of one place, and on what evidence, is in binding.go.

// dataMap is what is known of variables and of tables in .data.rel.ro.
type dataMap struct {
	d       *Diff
	places  []place
	points  []point // places with one clear answer, by fixed address
	objects namedObjects
	taken   []image.Addr // base addresses of points, sorted
	claims  []claimed    // all votes, by base address
	led     []led        // by pointers in data
	// baseRefs are the writable addresses that described base code and
	// relocations refer to, sorted.
	baseRefs  []image.Addr
	addressed []image.Addr        // see addressedPlaces
	crossed   []image.Addr        // see crossing; found when all pairs are known
	usage     [2]*usage           // of base and fixed, made when needed
	uneven    map[image.Addr]bool // gaps by the neighbour below, see anyOfThem
	rests     map[restKey]*rest
	shared    map[*object]string // see sharedObjects
	confused  map[*object]bool   // see findConfused; known when all pairs are
}

// point is a place whose counterpart is clear.
type point struct {
	fixed, base image.Addr
	soft        bool // only pairs found by order say so
	how         How
	why         string
	support     int32  // firm votes, and those of aligned changed pairs
	by          voter  // whose they are
	reads       bool   // it is accessed; else its address is taken and may be that of an end
	end         bool   // it may be the end of what is before it, see mayBeEnd
	doubt       string // why it is not believed, see contest
}

func (p point) delta() int64 { return int64(p.fixed - p.base) }

// prepare reads what does not depend on pairs, once.
func (m *dataMap) prepare(d *Diff) {
	if m.d == nil {
		m.d = d
		m.objects = nameObjects(d.Base.Image, d.Fixed.Image, d.sources)
		m.shared = sharedObjects(&m.objects)
		m.baseRefs = d.Base.dataRefs()
		m.addressed = addressedPlaces(d.Base)
	}
}

// build derives the map from votes. Symbols join as points of their own.
func (m *dataMap) build(d *Diff, all []vote) {
	m.prepare(d)
	m.places = tally(all)
	m.uneven = map[image.Addr]bool{}
	m.points = m.points[:0]
	for i := range m.places {
		if p, ok := m.judge(&m.places[i]); ok {
			m.points = append(m.points, p)
		}
	}
	m.addNamed()
	m.contest()
	m.arbitrate()
	m.dropDisorder()
	m.taken = m.taken[:0]
	for _, p := range m.points {
		m.taken = append(m.taken, p.base)
	}
	slices.Sort(m.taken)
	m.led = nil // what is asked meanwhile does without
	m.led = m.followPointers()
}

// dataRefs are the addresses of variables that described code and
// relocations name.
func (c *Code) dataRefs() []image.Addr {
	var out []image.Addr
	for _, f := range c.Funcs {
		if !f.described() {
			continue
		}
		for k := range f.Refs {
			if f.Refs[k].Class.Writable() {
				out = append(out, f.Refs[k].Target)
			}
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok && c.ClassAt(t).Writable() {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// judge decides a place by its votes alone.
func (m *dataMap) judge(p *place) (point, bool) {
	first, second := p.best(firmly)
	if first != nil {
		if second != nil && second.firm*2 >= first.firm {
			return point{}, false
		}
		return point{fixed: p.fixed, base: first.base, how: Voted, why: count(int(first.firm), "function"), support: first.firm + first.weak, by: first.by, reads: first.reads > 0}, true
	}
	first, second = p.best(softly)
	if first == nil || second != nil {
		return point{}, false
	}
	return point{fixed: p.fixed, base: first.base, soft: true, how: Voted, why: count(int(first.soft), "function") + " paired by order"}, true
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// addNamed adds the symbols that both images have, unless votes have already
// said something of their address.
func (m *dataMap) addNamed() {
	n := len(m.points)
	for _, o := range m.objects.fixed {
		if o.base == nil || o.base.size != o.size || o.pure {
			continue
		}
		if _, voted := m.placeAt(o.addr); voted || !o.sure && m.succeeds(o.base.addr, o.addr) {
			continue
		}
		m.points = append(m.points, point{fixed: o.addr, base: o.base.addr, how: Named, why: "symbol " + o.name, by: several})
	}
	if len(m.points) == n {
		return
	}
	slices.SortStableFunc(m.points, func(a, b point) int { return compareAddr(a.fixed, b.fixed) })
	m.points = slices.CompactFunc(m.points, func(a, b point) bool { return a.fixed == b.fixed })
}

// dropDisorder removes soft points that break the order of their neighbours.
func (m *dataMap) dropDisorder() {
	for range 3 {
		n := len(m.points)
		var keep []point
		for i, p := range m.points {
			bad := i > 0 && m.points[i-1].base >= p.base || i+1 < n && m.points[i+1].base <= p.base
			if p.soft && bad {
				continue
			}
			keep = append(keep, p)
		}
		m.points = keep
		if len(keep) == n {
			return
		}
	}
}

func (m *dataMap) placeAt(v image.Addr) (*place, bool) {
	i, ok := slices.BinarySearchFunc(m.places, v, func(p place, v image.Addr) int { return compareAddr(p.fixed, v) })
	if !ok {
		return nil, false
	}
	return &m.places[i], true
}

// Step is a place inside a data section where the distance to the base image
// changes: something grew, shrank, came or went there.
type Step struct {
	Fixed    image.Addr // the first place behind the step
	From, To int64      // fixed minus base, before and after
}

// Steps lists the steps between mapped variables, by address.
func (d *Diff) Steps() []Step {
	var out []Step
	var prev *point
	for i := range d.data.points {
		p := &d.data.points[i]
		s := d.Fixed.SectionAt(p.fixed)
		if p.soft || s == nil || !s.Class.Writable() {
			continue
		}
		if prev != nil && prev.fixed >= s.Addr && prev.delta() != p.delta() {
			out = append(out, Step{p.fixed, prev.delta(), p.delta()})
		}
		prev = p
	}
	return out
}
