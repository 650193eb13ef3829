package diff

import (
	"fmt"
	"slices"
	"sort"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// How says on what a binding rests.
type How uint8

const (
	Unmapped     How = iota // no certain counterpart; Binding.Why tells
	NewVariable             // it exists only in the fixed image
	Named                   // by symbol, not contradicted
	Voted                   // functions with equal code refer to both
	Witnessed               // a weak hint that an independent one confirms
	Aligned                 // only the aligned instructions of changed functions say so
	Interpolated            // between agreeing neighbours, where base code refers to
)

func (h How) String() string {
	return [...]string{"unmapped", "new", "symbol", "votes", "witness", "alignment", "interpolation"}[h]
}

// Binding is where a place of the fixed image lives in the base image.
type Binding struct {
	Base image.Addr
	How  How
	Why  string // the evidence, or why there is none
	Grew bool   // Unmapped, because the variable has another size now
	// Doubt: Unmapped, because the functions that refer to it may refer to
	// another variable than before.
	Doubt bool
}

// OK says whether Base may be used.
func (b Binding) OK() bool { return b.How >= Named }

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

// Map finds the counterpart of the variable (or table) at v.
func (d *Diff) Map(v image.Addr) Binding { return d.believable(v, d.data.find(v)) }

func (m *dataMap) find(v image.Addr) Binding {
	s := m.d.Fixed.SectionAt(v)
	if s == nil {
		return unmapped("%#x is in no section", uint64(v))
	}
	k := sort.Search(len(m.points), func(i int) bool { return m.points[i].fixed >= v })
	lo, hi := m.neighbour(k-1, -1, s), m.neighbour(k, +1, s)
	at := -1
	if k < len(m.points) && m.points[k].fixed == v {
		at = k
		hi = m.neighbour(k+1, +1, s)
	}
	named := m.byName(v, lo, hi)
	if at >= 0 {
		b := m.confirm(&m.points[at], lo, hi)
		switch {
		case named.How == Unmapped && named.Why == "": // no symbol
			return b
		case named.How == NewVariable && b.OK() && m.outgrown(v, b.Base):
			b = unmapped("%s took the place of a variable of another size", m.objects.covering(v).name)
			b.Grew = true
			return b
		case named.How == NewVariable && b.OK():
			return unmapped("symbols call it new, but %s at %#x", b.Why, uint64(b.Base))
		case b.OK() && named.OK() && b.Base != named.Base:
			return unmapped("symbols say %#x (%s), but %s say %#x", uint64(named.Base), named.Why, b.Why, uint64(b.Base))
		case named.Grew:
			return named
		case named.OK():
			return named
		}
		return b
	}
	if p, ok := m.placeAt(v); ok {
		if f, _ := p.best(firmly); f != nil {
			return unmapped("functions disagree: %s", describe(p))
		}
		if f, _ := p.best(softly); f != nil {
			if named.OK() && m.supports(p, named.Base) {
				return named
			}
			return unmapped("functions paired by order disagree: %s", describe(p))
		}
		if w, second := p.best(weakly); named.OK() && (w.base == named.Base && (second == nil || second.weak < w.weak)) {
			return named
		}
	}
	if named.How != Unmapped || named.Why != "" {
		return m.checkNamed(v, named)
	}
	return m.between(v, s, lo, hi)
}

// outgrown says that the variable with the name at v and the one with a name at
// base, which equal code takes for each other, have different sizes.
func (m *dataMap) outgrown(v, base image.Addr) bool {
	o := m.objects.covering(v)
	size, ok := m.d.Base.objectSize(base - (v - o.addr))
	return ok && size != o.size
}

func (m *dataMap) supports(p *place, base image.Addr) bool {
	for _, v := range p.votes {
		if v.base == base {
			return true
		}
	}
	return false
}

// checkNamed lets aligned instructions contradict a symbol nobody voted for, and
// who uses a static variable of a function, when the name repeats: one of that
// name may have gone while another came.
func (m *dataMap) checkNamed(v image.Addr, named Binding) Binding {
	if o := m.objects.covering(v); named.OK() && o != nil && !o.sure && m.succeeds(named.Base, v) {
		return unmapped("several variables are named %s, and no function that refers to the one at %#x has a counterpart that refers to this one", names.Stem(o.name), uint64(named.Base))
	}
	p, ok := m.placeAt(v)
	if !ok || !named.OK() {
		return named
	}
	w, _ := p.best(weakly)
	if w != nil && w.base != named.Base && w.weak > 1 {
		return unmapped("symbols say %#x (%s), but %s", uint64(named.Base), named.Why, describe(p))
	}
	return named
}

func unmapped(format string, args ...any) Binding {
	return Binding{Why: fmt.Sprintf(format, args...)}
}

func describe(p *place) string {
	s := ""
	for i, v := range p.votes {
		if i > 0 {
			s += ", "
		}
		if i == 3 {
			return s + "..."
		}
		s += fmt.Sprintf("%#x (%d firm, %d by order, %d aligned)", uint64(v.base), v.firm, v.soft, v.weak)
	}
	return s
}

// confirm checks a point: aligned instructions may contradict firm votes; soft
// votes need a witness.
func (m *dataMap) confirm(p *point, lo, hi *point) Binding {
	ok := Binding{Base: p.base, How: p.how, Why: p.why}
	place, voted := m.placeAt(p.fixed)
	if !voted {
		return ok
	}
	if p.end {
		return unmapped("it may be the end of what is before it, or the start of what is behind it")
	}
	if p.doubt != "" {
		b := unmapped("%s that refer to it may have used another variable before: %s", p.why, p.doubt)
		b.Doubt = true
		return b
	}
	w, second := place.best(weakly)
	if !p.soft {
		var mine int32
		for _, v := range place.votes {
			if v.base == p.base {
				mine = v.weak
			}
		}
		votes, _ := place.best(firmly)
		if w != nil && w.base != p.base && w.weak > mine && (votes == nil || votes.firm < outvoted) {
			return unmapped("changed functions contradict: %s", describe(place))
		}
		return ok
	}
	if w != nil {
		if w.base == p.base && second == nil {
			return Binding{Base: p.base, How: Witnessed, Why: p.why + ", aligned instructions agree"}
		}
		return unmapped("functions paired by order and aligned instructions disagree: %s", describe(place))
	}
	if lo != nil && hi != nil && lo.delta() == p.delta() && hi.delta() == p.delta() {
		return Binding{Base: p.base, How: Witnessed, Why: p.why + ", both neighbours agree"}
	}
	return unmapped("only %s refer to it", p.why)
}

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

func (m *dataMap) sameSection(a, b image.Addr) bool {
	s := m.d.Base.SectionAt(a)
	return s != nil && b >= s.Addr && b <= s.Addr+s.Size
}

// Bind finds the counterpart of what reference k of the fixed function f leads
// to, when that is a variable or a table of pointers. In a function whose code
// is the same, the same instruction of the base function must agree, and it
// settles what other functions disagree about (an address may be the start of
// one variable for some and the end of another for others).
func (d *Diff) Bind(f *Func, k int) Binding {
	return d.believable(f.Refs[k].Target, d.bind(f, k))
}

func (d *Diff) bind(f *Func, k int) Binding {
	r := &f.Refs[k]
	if o := d.data.objects.covering(r.Target); r.Known && o != nil && o.sure && o.base != nil && o.size == o.base.size {
		return Binding{Base: o.base.addr + (r.Target - o.addr), How: Named, Why: "its relocation names " + o.name}
	}
	b := d.Map(r.Target)
	a := d.baseOf[f.Index]
	if a == nil || b.Grew || a.Hash != f.Hash || len(a.Refs) != len(f.Refs) || !votable(a.Refs[k].Class, r.Class) {
		return b
	}
	own := a.Refs[k].Target
	if d.Aside(&a.Refs[k], r) {
		return Binding{Base: own, How: Voted, Why: "the same instruction of the base function, as far from the same object"}
	}
	if want, _, ok := d.data.objects.counterpart(r.Target); ok && b.OK() && b.Base == want {
		return b // the names are sure: the fix uses another variable than before
	}
	switch {
	case b.Doubt, b.OK() && b.Base == own:
		return b
	case b.OK() && d.data.switched(own, r.Target):
		b.Why += fmt.Sprintf("; the base function refers to %#x", uint64(own))
		return b
	case b.OK():
		return unmapped("the base function refers to %#x, but %s to %#x", uint64(own), b.Why, uint64(b.Base))
	case !d.how[f.Index].firm():
		return b
	}
	if p, ok := d.data.placeAt(r.Target); ok && (r.Kind == Lea || !p.disputed()) {
		for _, v := range p.votes {
			if v.base == own && v.firm > 0 {
				return Binding{Base: own, How: Voted, Why: "the same instruction of the base function"}
			}
		}
	}
	return b
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
