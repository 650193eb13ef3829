package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/image"
)

// Twins (functions with one hash) often differ in what they name: each class
// of a GObject library has the same functions around another string. Linkers
// are free to put objects into another order from one build to the next, so
// the order of twins is no evidence where their contents are.

// content is a function with a hash of its code and of what it names.
type content struct {
	f   *Func
	key uint64
}

// pairContents pairs functions whose code occurs several times, but only once
// with these strings and imports.
func (d *Diff) pairContents() {
	x, y := contents(d.Base, d.freeBase(d.Base.Funcs)), contents(d.Fixed, d.freeFixed(d.Fixed.Funcs))
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch c := cmp.Compare(x[i].key, y[j].key); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			n, m := alikeContents(x[i:]), alikeContents(y[j:])
			if n == 1 && m == 1 && x[i].f.Hash == y[j].f.Hash {
				d.join(x[i].f, y[j].f, byHash)
			}
			i, j = i+n, j+m
		}
	}
}

// alikeContents is how many at the start of cs have the same key.
func alikeContents(cs []content) int {
	n := 1
	for n < len(cs) && cs[n].key == cs[0].key {
		n++
	}
	return n
}

// contents are the functions that name something, by key. Tiny ones and code
// that nothing describes are left out.
func contents(c *Code, fs []*Func) []content {
	var out []content
	for _, f := range fs {
		if f.Insts < tiny || !f.described() {
			continue
		}
		if k, ok := c.contentKey(f); ok {
			out = append(out, content{f, k})
		}
	}
	slices.SortFunc(out, func(a, b content) int {
		return cmp.Or(cmp.Compare(a.key, b.key), compareAddr(a.f.Lo, b.f.Lo))
	})
	return out
}

// contentKey hashes the code of f with the strings whose addresses it takes and
// the names of what it imports. ok: there is at least one string.
func (c *Code) contentKey(f *Func) (key uint64, ok bool) {
	const prime = 0x9E3779B97F4A7C15
	key = f.Hash
	add := func(k int, b []byte) { key = (key ^ hash(b) + uint64(k)) * prime }
	for k := range f.Refs {
		r := &f.Refs[k]
		switch r.Class {
		case image.ROData:
			if n := c.CString(r.Target); r.Kind == Lea && n > 2 && c.startsString(r.Target) {
				add(k, c.Bytes(r.Target, n))
				ok = true
			}
		case image.PLT, image.GOT:
			add(k, []byte(c.importName(r.Class, r.Target)))
		}
	}
	return key, ok
}
