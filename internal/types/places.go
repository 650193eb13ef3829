package types

import (
	"cmp"
	"slices"
	"sort"

	"hotpatch/internal/image"
)

// Places tells which units code and variables of one image are of.
type Places struct {
	ranges  []unitRange // by lo
	longest uint64
	vars    []Variable // by address
}

type unitRange struct {
	lo, hi uint64
	unit   *Unit
}

// Variable is a variable, or several at one place.
type Variable struct {
	At    image.Addr // of a thread-local one: its place in the block
	Size  image.Addr // bytes; 0 where that is not known, and of thread-local ones
	Units []*Unit    // those that describe it; none of thread-local ones
	Name  string     // of one that has any
	kind  *kind
}

// Places are those of both images.
func (p *Pair) Places() (base, fixed *Places) { return placesOf(p.base), placesOf(p.fixed) }

func placesOf(t *table) *Places {
	p := &Places{}
	for _, u := range t.units {
		for _, r := range u.ranges {
			if r[0] < r[1] {
				p.ranges = append(p.ranges, unitRange{r[0], r[1], u})
				p.longest = max(p.longest, r[1]-r[0])
			}
		}
		for _, o := range u.objects {
			p.vars = append(p.vars, Variable{o.at, o.size, []*Unit{u}, o.name, o.kind})
		}
	}
	slices.SortStableFunc(p.ranges, func(a, b unitRange) int {
		return cmp.Compare(image.Addr(a.lo), image.Addr(b.lo))
	})
	slices.SortStableFunc(p.vars, func(a, b Variable) int { return cmp.Compare(a.At, b.At) })
	merged := p.vars[:0]
	for _, v := range p.vars {
		if n := len(merged); n > 0 && merged[n-1].At == v.At {
			merged[n-1].Units = append(merged[n-1].Units, v.Units...)
			merged[n-1].Size = max(merged[n-1].Size, v.Size)
			if merged[n-1].kind == nil {
				merged[n-1].Name, merged[n-1].kind = v.Name, v.kind
			}
			continue
		}
		merged = append(merged, v)
	}
	p.vars = merged
	return p
}

// Holding are the units with code at a: several where the linker dropped
// copies of a function, whose ranges then lie anywhere.
func (p *Places) Holding(a image.Addr) []*Unit {
	var out []*Unit
	k := sort.Search(len(p.ranges), func(i int) bool { return p.ranges[i].lo > uint64(a) })
	for i := k - 1; i >= 0 && uint64(a)-p.ranges[i].lo < p.longest; i-- {
		if uint64(a) < p.ranges[i].hi && !slices.Contains(out, p.ranges[i].unit) {
			out = append(out, p.ranges[i].unit)
		}
	}
	return out
}

// Variable is the one that holds a, at its start or within its size.
func (p *Places) Variable(a image.Addr) (Variable, bool) {
	k := sort.Search(len(p.vars), func(i int) bool { return p.vars[i].At > a }) - 1
	if k < 0 || a > p.vars[k].At && a >= p.vars[k].At+p.vars[k].Size {
		return Variable{}, false
	}
	return p.vars[k], true
}

// Threads are the thread-local variables of both images, by their places in the block:
// of several at one place the first.
func (p *Pair) Threads() (base, fixed []Variable) { return threads(p.base), threads(p.fixed) }

func threads(t *table) (out []Variable) {
	for _, u := range t.units {
		for _, o := range u.threads {
			out = append(out, Variable{At: o.at, Name: o.name, kind: o.kind})
		}
	}
	slices.SortStableFunc(out, func(a, b Variable) int { return cmp.Compare(a.At, b.At) })
	return slices.CompactFunc(out, func(a, b Variable) bool { return a.At == b.At })
}
