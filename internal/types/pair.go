package types

import (
	"fmt"
	"path"

	"hotpatch/internal/image"
)

// Pair are the types of both images.
type Pair struct{ base, fixed *table }

// Read reads the types of both images; nil when either of them has no DWARF. An error
// without a Pair says that the DWARF of one could not be read; one with a Pair names a
// type that could not be: all others are in it.
func Read(base, fixed *image.Image) (*Pair, error) {
	x, err := tableOf(base)
	if err != nil || x == nil {
		return nil, err
	}
	y, err := tableOf(fixed)
	if err != nil || y == nil {
		return nil, err
	}
	for _, t := range []*table{x, y} {
		if t.unread != "" {
			err = fmt.Errorf("read types: %s", t.unread)
		}
	}
	return &Pair{x, y}, err
}

// Counterparts gives every unit of either image the one of the other image with its
// name. Names that repeat pair by order if there are as many on either side. Units that
// have none are not in it.
func (p *Pair) Counterparts() map[*Unit]*Unit {
	by := func(t *table) map[string][]*Unit {
		out := map[string][]*Unit{}
		for _, u := range t.units {
			if u.Name != "" { // those of dwz have none
				out[u.Name] = append(out[u.Name], u)
			}
		}
		return out
	}
	x, y := by(p.base), by(p.fixed)
	out := map[*Unit]*Unit{}
	for name, us := range y {
		if len(x[name]) != len(us) {
			continue
		}
		for i, u := range us {
			out[u], out[x[name][i]] = x[name][i], u
		}
	}
	p.pairRenamed(out)
	return out
}

// pairRenamed gives units that have another name the one with its last part, of
// sources that were built in another directory; or the only one that is left.
func (p *Pair) pairRenamed(pairs map[*Unit]*Unit) {
	left := func(t *table) (out []*Unit) {
		for _, u := range t.units {
			if !u.part && u.Name != "" && pairs[u] == nil {
				out = append(out, u)
			}
		}
		return out
	}
	one := func(us []*Unit) map[string]*Unit {
		out := map[string]*Unit{}
		for _, u := range us {
			name := path.Base(u.Name)
			if _, twice := out[name]; twice {
				out[name] = nil
				continue
			}
			out[name] = u
		}
		return out
	}
	x := one(left(p.base))
	for name, u := range one(left(p.fixed)) {
		if v := x[name]; u != nil && v != nil {
			pairs[u], pairs[v] = v, u
		}
	}
	if a, b := left(p.base), left(p.fixed); len(a) == 1 && len(b) == 1 {
		pairs[a[0]], pairs[b[0]] = b[0], a[0]
	}
}
