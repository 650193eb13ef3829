package build

import (
	"cmp"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// How much of the base image a bundle records for its reviewers. A bundle
// that replaces more than that is not read function by function by anybody.
const (
	maxBefore      = 4 << 20 // bytes of code; and of constants, those beyond are left out
	maxCallerNames = 16
	constantBytes  = 64 // enough to tell constants apart; strings are recorded whole
)

// recorder collects the code before.
type recorder struct {
	d       *diff.Diff
	b       patch.Before
	size    uint64 // of code
	text    uint64 // of constants
	places  map[image.Addr]bool
	callers map[image.Addr]int // by entry of a replaced function, to b.Callers
}

// before records, for reviewers, the base code under the sites of changed
// functions and of functions that are gone. Nil when it is too much.
func before(d *diff.Diff, sites []patch.Site) ([]byte, error) {
	r := &recorder{d: d, places: map[image.Addr]bool{}, callers: map[image.Addr]int{}}
	for _, s := range sites {
		a := d.Base.Entry(image.Addr(s.Base))
		if a == nil || d.FixedOf(a) == nil {
			continue
		}
		if state, _ := d.State(d.FixedOf(a)); state != diff.Changed {
			continue
		}
		for _, g := range s.Ranges {
			r.code(image.Addr(g[0]), image.Addr(g[1]))
		}
		r.callee(a)
	}
	for _, a := range d.Gone() {
		if a.Source != image.FromGap && !r.has(a.Lo) {
			r.code(a.Lo, a.Hi)
			r.callee(a)
		}
	}
	if r.size > maxBefore {
		return nil, nil
	}
	r.findCallers()
	slices.SortFunc(r.b.Code, func(x, y patch.Bytes) int { return cmp.Compare(x.Addr, y.Addr) })
	slices.SortFunc(r.b.Places, func(x, y patch.Place) int { return cmp.Compare(x.Addr, y.Addr) })
	slices.SortFunc(r.b.Callers, func(x, y patch.Callers) int { return cmp.Compare(x.Base, y.Base) })
	return patch.EncodeBefore(&r.b)
}

func (r *recorder) has(a image.Addr) bool {
	return slices.ContainsFunc(r.b.Code, func(c patch.Bytes) bool { return uint64(a) >= c.Addr && uint64(a)-c.Addr < uint64(len(c.Data)) })
}

// code records [lo, hi) and what the functions in it refer to.
func (r *recorder) code(lo, hi image.Addr) {
	if r.size += uint64(hi - lo); r.size > maxBefore {
		return
	}
	r.b.Code = append(r.b.Code, patch.Bytes{Addr: uint64(lo), Data: slices.Clone(r.d.Base.Bytes(lo, int(hi-lo)))})
	f := r.d.Base.At(lo)
	if f == nil {
		return
	}
	for k := range f.Refs {
		r.place(&f.Refs[k])
	}
}

// place records what a reference leads to.
func (r *recorder) place(ref *diff.Ref) {
	t := ref.Target
	if r.places[t] || len(r.b.Places) == patch.MaxPlaces {
		return
	}
	r.places[t] = true
	p := patch.Place{Addr: uint64(t), Name: r.name(t, ref.Class)}
	if ref.Class == image.ROData {
		p.Name, p.Data = "", r.constant(ref)
		if r.text += uint64(len(p.Data)); r.text > maxBefore {
			p.Data = nil
		}
	}
	if p.Name != "" || len(p.Data) > 0 {
		r.b.Places = append(r.b.Places, p)
	}
}

// name is what carried code calls the same place: a function by the name it
// has in the manifest. "" when it has none.
func (r *recorder) name(t image.Addr, class image.Class) string {
	base := r.d.Base
	switch class {
	case image.Text:
		if g := base.At(t); g != nil {
			if t == g.Lo {
				return r.function(g)
			}
			return r.function(g) + "+" + hexAddr(t-g.Lo)
		}
	case image.PLT:
		if i, ok := base.PLTName(t); ok {
			return i.Name
		}
	case image.GOT:
		q := base.RelocAt(t)
		if q == nil {
			return ""
		}
		if q.Sym != "" {
			return q.Sym + "@got"
		}
		if to, ok := diff.Pointee(q); ok {
			if n := r.name(to, base.ClassAt(to)); n != "" {
				return n + "@got"
			}
		}
	case image.RelRO, image.Data, image.BSS:
		for _, s := range base.SymbolsAt(t) {
			return s.Name
		}
	}
	return ""
}

func (r *recorder) function(f *diff.Func) string {
	if g := r.d.FixedOf(f); g != nil {
		return label(r.d, g)
	}
	return f.Name()
}

func (r *recorder) constant(ref *diff.Ref) []byte {
	base := r.d.Base
	n := int(ref.Width)
	if ref.Kind == diff.Lea {
		n = min(int(base.End(ref.Target)-ref.Target), constantBytes)
		if s := base.CString(ref.Target); s > 1 {
			n = min(s, patch.MaxPlaceData)
		}
	}
	return slices.Clone(base.Bytes(ref.Target, n))
}

// callee wants the callers of a.
func (r *recorder) callee(a *diff.Func) {
	if _, ok := r.callers[a.Lo]; !ok && !a.Fragment {
		r.callers[a.Lo] = len(r.b.Callers)
		r.b.Callers = append(r.b.Callers, patch.Callers{Base: uint64(a.Lo), Names: []string{}})
	}
}

// findCallers looks for references to the callees in all of the base image:
// code in order of address, then pointers in data.
func (r *recorder) findCallers() {
	add := func(to image.Addr, name string) {
		i, ok := r.callers[to]
		if !ok {
			return
		}
		switch c := &r.b.Callers[i]; {
		case slices.Contains(c.Names, name):
		case len(c.Names) == maxCallerNames:
			c.More++
		default:
			c.Names = append(c.Names, name)
		}
	}
	base := r.d.Base
	for _, f := range base.Funcs {
		last := image.Addr(0)
		for k := range f.Refs {
			to := f.Refs[k].Target
			if f.Refs[k].Class == image.PLT {
				to = r.exported(to)
			}
			if to != last && to != f.Lo {
				add(to, r.function(f))
			}
			last = to
		}
	}
	for i := range base.Relocs {
		if to, ok := diff.Pointee(&base.Relocs[i]); ok && base.ClassAt(base.Relocs[i].At) != image.GOT {
			if s := base.SectionAt(base.Relocs[i].At); s != nil {
				add(to, "a pointer in "+s.Name)
			}
		}
	}
}

// exported is the function of the base image that a PLT entry calls when
// nobody interposes; 0 for none.
func (r *recorder) exported(plt image.Addr) image.Addr {
	if i, ok := r.d.Base.PLTName(plt); ok {
		if s, ok := r.d.Base.Exported(i); ok {
			return s.Addr
		}
	}
	return 0
}
