package diff

import (
	"fmt"
	"sort"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// Where does a variable of the fixed image live in the base image, and how do we
// know? Two pieces of evidence that disagree are no answer.

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
