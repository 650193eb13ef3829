package build

import (
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// Interpreters jump through tables of the places where their operations begin
// (labels as values). Such a table belongs to the code: that of the base image
// leads into the old function, whatever else it has in common with the new one.

// sameTable: carried code may use the table at base for that at t. One that the
// base program may have written to is no table any more, whatever it began as.
func (e *emitter) sameTable(base, t image.Addr) bool {
	return !e.d.Base.ClassAt(base).Writable() && e.d.SameTable(base, t) && !e.labels(t)
}

// labels says that the object at t, constant or variable, holds places inside
// of functions that are carried, or leads to one that does.
func (e *emitter) labels(t image.Addr) bool {
	if e.places == nil {
		e.places = placesInside(e.d.Fixed)
	}
	if !slices.ContainsFunc(e.places, func(p image.Addr) bool { return e.c.in[e.d.Fixed.At(p)] }) {
		return false
	}
	seen := map[image.Addr]bool{t: true}
	for todo := []image.Addr{t}; len(todo) > 0; todo = todo[1:] {
		lo, hi := e.d.TableAt(todo[0])
		for _, r := range e.d.Fixed.RelocsIn(lo, hi) {
			p, ok := diff.Pointee(&r)
			if !ok {
				continue
			}
			switch e.d.Fixed.ClassAt(p) {
			case image.Text:
				if g := e.d.Fixed.At(p); g != nil && p != g.Lo && e.c.in[g] {
					return true
				}
			case image.ROData, image.RelRO, image.Data:
				if !seen[p] {
					seen[p] = true
					todo = append(todo, p)
				}
			}
		}
	}
	return false
}

// placesInside are the places inside of functions that pointers in data lead to;
// never nil.
func placesInside(c *diff.Code) []image.Addr {
	out := []image.Addr{}
	for i := range c.Relocs {
		p, ok := diff.Pointee(&c.Relocs[i])
		if !ok || c.ClassAt(p) != image.Text {
			continue
		}
		if g := c.At(p); g != nil && p != g.Lo && g.Source != image.FromGap {
			out = append(out, p)
		}
	}
	return out
}

// insides: what leads into the middle of a function that is replaced, and is not only
// jumped to by its code, would go on in the old code with what the new one left.
func (j *judge) insides() {
	base, fixed := j.d.Base.Insides(), j.d.Fixed.Insides()
	for _, f := range j.c.list {
		if f.Fragment || f.Source == image.FromGap {
			continue
		}
		a := j.d.BaseOf(f)
		state, _ := j.d.State(f)
		why := fixed.Others(f, j.d.Parts(f))
		if why == "" && a != nil && state == diff.Changed {
			why = base.Others(a, j.d.BaseParts(a))
		}
		switch {
		case why != "":
			j.r.add(placesKept, label(j.d, f), "%s; its new code is elsewhere, and would not be found there", why)
		case a != nil && (state == diff.Changed && base.Keeps(a, j.d.BaseParts(a)) || fixed.Keeps(f, j.d.Parts(f))):
			j.r.add(placesKept, label(j.d, f), "addresses of places inside of it (labels) may be kept in memory; those that are lead into its old code, and after a revert into its new code")
		}
	}
}
