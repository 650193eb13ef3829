package diff

import (
	"fmt"
	"maps"
	"slices"
)

// Where another compiler chose other instructions, alignment sees little of a
// changed structure. What remains whatever the compiler does are the sizes that
// a function hands to allocators, and the distances at which it reads and writes
// members: the same set, when the structures are the same.

// SizeDrift is a sign that a structure has another size or other members than
// before, "" for none. It looks at sets, not at places, and so is for pairs of
// images whose code was made anew; Drift is for all.
func (d *Diff) SizeDrift() string { return d.drift.sets }

func (d *Diff) findSetDrift() {
	const few = 3
	var moved []shift
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if a == nil || a.Hash == b.Hash || !b.described() || !a.described() {
			continue
		}
		x, y := d.factsOfLayout(d.Base, a), d.factsOfLayout(d.Fixed, b)
		if gone, come := lacking(x.sizes, y.sizes), lacking(y.sizes, x.sizes); len(gone) > 0 && len(come) > 0 {
			d.drift.sets = fmt.Sprintf("%s allocates %v bytes instead of %v", d.name(b), come, gone)
			return
		}
		gone, come := lacking(x.members, y.members), lacking(y.members, x.members)
		for _, from := range gone {
			for _, to := range come {
				if n := to - from; n != 0 && n >= -256 && n <= 256 && n%4 == 0 {
					moved = append(moved, shift{fn: b, from: from, to: to})
				}
			}
		}
	}
	places, functions := map[int64]int{}, map[int64]int{}
	last := map[int64]*Func{}
	for _, s := range moved {
		places[s.delta()]++
		if last[s.delta()] != s.fn {
			last[s.delta()] = s.fn
			functions[s.delta()]++
		}
	}
	for _, n := range slices.Sorted(maps.Keys(places)) {
		if functions[n] >= 2 && places[n] >= few && places[n] > 2*places[-n] {
			d.drift.sets = fmt.Sprintf("%d members in %d functions are %+d bytes from where they were", places[n], functions[n], n)
			return
		}
	}
}

// layoutFacts are the sizes and distances that a function knows, sorted.
type layoutFacts struct{ sizes, members []int64 }

func (d *Diff) factsOfLayout(c *Code, f *Func) layoutFacts {
	sizes, members := map[int64]bool{}, map[int64]bool{}
	t := d.tokensOf(c, f)
	const near = 16
	var constants [8]int64 // by register, as far as a call may be handed them
	var at [8]int
	for i := range t {
		switch n := &t[i]; {
		case n.ref < 0 && loadsArgument(n):
			constants[n.in.Op&7], at[n.in.Op&7] = n.imm, i
		case n.ref < 0 && isField(n):
			members[int64(n.disp)] = true
		case n.in.IsCall():
			for r, size := range constants {
				if n.ref >= 0 && i-at[r] < near && size >= 16 && size%4 == 0 && allocator(c, &f.Refs[n.ref]) {
					sizes[size] = true
				}
			}
			constants = [8]int64{}
		}
	}
	return layoutFacts{slices.Sorted(maps.Keys(sizes)), slices.Sorted(maps.Keys(members))}
}

// lacking are the elements of x that y lacks.
func lacking(x, y []int64) []int64 {
	var out []int64
	for _, n := range x {
		if _, there := slices.BinarySearch(y, n); !there {
			out = append(out, n)
		}
	}
	return out
}
