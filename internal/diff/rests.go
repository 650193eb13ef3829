package diff

import (
	"slices"

	"hotpatch/internal/image"
)

// restKey tells pairs of objects: where the fixed one ends, and how far it is
// from the other.
type restKey struct{ end, delta image.Addr }

// rest is how much of such a pair is known to start alike, counted from its
// end: large tables are asked about at each of their elements.
type rest struct {
	from    image.Addr // all from here to the end is alike
	differs bool       // what is before from is not
	across  bool       // a pointer lies across two words: nothing is known
}

// restAlike is alikeInitially of what is left of two objects.
func (m *dataMap) restAlike(a, v, n image.Addr) bool {
	if (a|v)%word != 0 {
		return m.alikeInitially(a, v, n)
	}
	k := restKey{v + n, v - a}
	r := m.rests[k]
	if r == nil {
		if m.rests == nil {
			m.rests = map[restKey]*rest{}
		}
		r = &rest{from: k.end}
		m.rests[k] = r
	}
	for r.from > v && !r.differs && !r.across {
		w := (r.from - 1) &^ (word - 1)
		across := func(r image.Reloc) bool { return r.At%word != 0 }
		switch {
		case slices.ContainsFunc(m.d.Fixed.RelocsIn(w, r.from), across), slices.ContainsFunc(m.d.Base.RelocsIn(w-k.delta, r.from-k.delta), across):
			r.across = true
		case m.equalInitially(w-k.delta, w, r.from-w):
			r.from = w
		default:
			r.differs = true
		}
	}
	if r.across {
		return m.alikeInitially(a, v, n)
	}
	return r.from <= v && m.hasContent(v, n)
}
