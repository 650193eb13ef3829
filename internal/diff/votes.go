package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/image"
)

// vote says: this place of the fixed image is that place of the base image.
type vote struct {
	fixed, base      image.Addr
	firm, soft, weak int32 // functions that say so: firm pairs, pairs by order, aligned changed pairs
	reads            int32 // those of the firm that access it: an address that is only taken may be an end
	by               voter // who says so; not of pairs by order
}

// voter is the index of a fixed function, or several.
type voter int32

const (
	nobody  voter = -1
	several voter = -2
)

func (v voter) with(w voter) voter {
	switch {
	case v == nobody || v == w:
		return w
	case w == nobody:
		return v
	}
	return several
}

// place is an address of the fixed image with all its votes.
type place struct {
	fixed image.Addr
	votes []vote // by base address
}

// best returns the vote that leads by the given measure, and the runner-up.
func (p *place) best(measure func(*vote) int32) (first, second *vote) {
	for i := range p.votes {
		v := &p.votes[i]
		if measure(v) == 0 {
			continue
		}
		switch {
		case first == nil || measure(v) > measure(first):
			first, second = v, first
		case second == nil || measure(v) > measure(second):
			second = v
		}
	}
	return first, second
}

func firmly(v *vote) int32 { return v.firm }
func softly(v *vote) int32 { return v.soft }
func weakly(v *vote) int32 { return v.weak }

// votable are the classes whose places are mapped.
func votable(a, b image.Class) bool {
	return a.Writable() && b.Writable() || a == image.RelRO && b == image.RelRO
}

// vote collects what the pairs say of data and rebuilds the map from it.
func (d *Diff) vote() {
	d.data.prepare(d)
	var all []vote
	for i, a := range d.baseOf {
		if a == nil {
			continue
		}
		b := d.Fixed.Funcs[i]
		if !a.described() || !b.described() {
			continue
		}
		if a.Hash != b.Hash || len(a.Refs) != len(b.Refs) {
			all = d.weakVotes(a, b, all)
			continue
		}
		v := vote{firm: 1, by: voter(i)}
		if !d.how[i].firm() {
			v = vote{soft: 1, by: nobody}
		}
		first := len(all)
		for k := range a.Refs {
			if !votable(a.Refs[k].Class, b.Refs[k].Class) || !d.meantAsIs(d.Fixed, &b.Refs[k]) {
				continue
			}
			v.base, v.fixed, v.reads = a.Refs[k].Target, b.Refs[k].Target, 0
			if b.Refs[k].Kind == Access {
				v.reads = v.firm
			}
			// A function that uses another variable than before has the same
			// hash: names are heard first.
			if want, _, ok := d.data.objects.counterpart(v.fixed); ok && want != v.base || !ok && d.data.objects.swapped(v.base, v.fixed) {
				continue
			}
			all = append(all, v)
		}
		all = oneEach(all, first)
	}
	d.data.build(d, all)
}

// weakVotes adds what the aligned instructions of a changed pair say. Pairs of
// which less than half corresponds say nothing.
func (d *Diff) weakVotes(a, b *Func, all []vote) []vote {
	has := false
	for k := range b.Refs {
		has = has || b.Refs[k].Class.Writable() || b.Refs[k].Class == image.RelRO
	}
	if !has {
		return all
	}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
	pairs := d.align(a, b)
	if 2*len(pairs) < min(len(x), len(y)) {
		return all
	}
	first := len(all)
	for _, p := range pairs {
		for s, t := range pairedRefs(&x[p[0]], &y[p[1]]) {
			if votable(a.Refs[s].Class, b.Refs[t].Class) && d.meantAsIs(d.Fixed, &b.Refs[t]) {
				all = append(all, vote{fixed: b.Refs[t].Target, base: a.Refs[s].Target, weak: 1, by: voter(b.Index)})
			}
		}
	}
	return oneEach(all, first)
}

// oneEach leaves a function one vote per claim: all[first:] is its share.
func oneEach(all []vote, first int) []vote {
	slices.SortFunc(all[first:], compareVotes)
	n := first
	for _, v := range all[first:] {
		if n > first && all[n-1].fixed == v.fixed && all[n-1].base == v.base {
			all[n-1].reads = max(all[n-1].reads, v.reads)
			continue
		}
		all[n] = v
		n++
	}
	return all[:n]
}

func compareVotes(a, b vote) int {
	return cmp.Or(compareAddr(a.fixed, b.fixed), compareAddr(a.base, b.base))
}

// tally sums equal claims and groups them by fixed address.
func tally(all []vote) []place {
	slices.SortFunc(all, compareVotes)
	n := 0
	for _, v := range all {
		if n > 0 && all[n-1].fixed == v.fixed && all[n-1].base == v.base {
			p := &all[n-1]
			p.firm, p.soft, p.weak, p.reads = p.firm+v.firm, p.soft+v.soft, p.weak+v.weak, p.reads+v.reads
			p.by = p.by.with(v.by)
			continue
		}
		all[n] = v
		n++
	}
	var out []place
	for i := 0; i < n; {
		j := i
		for j < n && all[j].fixed == all[i].fixed {
			j++
		}
		out = append(out, place{fixed: all[i].fixed, votes: all[i:j:j]})
		i = j
	}
	return out
}
