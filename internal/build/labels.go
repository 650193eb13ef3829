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
