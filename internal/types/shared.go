package types

import (
	"debug/dwarf"
	"slices"
	"sort"
)

// ref is a place in debug information: an offset in .debug_info, of the
// supplementary file with the bit inShared, or in .debug_types with the bit
// inTypes. 0: none.
type ref uint64

const (
	inShared ref = 1 << 32
	inTypes  ref = 1 << 33
)

// here is the place of an offset in the file that is being read.
func (t *reader) here(off dwarf.Offset) ref { return t.file | ref(off) }

// reference is the place that an attribute refers to; 0 without it.
func (t *reader) reference(e *dwarf.Entry, a dwarf.Attr) ref {
	f := e.AttrField(a)
	if f == nil {
		return 0
	}
	shared := uint64(0)
	switch v := f.Val.(type) {
	case dwarf.Offset:
		r := t.here(v)
		if t.unit != nil && (r < t.unit.at || r > t.here(e.Offset)) {
			t.open.foreign = append(t.open.foreign, r) // or only further on: see finish
		}
		return r
	case int64:
		if f.Class != dwarf.ClassReferenceAlt {
			return 0
		}
		shared = uint64(v)
	case uint32:
		shared = uint64(v)
	case uint64:
		if f.Class == dwarf.ClassReferenceSig {
			return t.signed(v)
		}
		shared = v
	default:
		return 0
	}
	if t.data.Shared == nil || t.file == inShared || shared >= uint64(inShared) {
		t.cannot("entry %#x refers to a supplementary file, and there is none", e.Offset)
		return 0
	}
	r := inShared | ref(shared)
	t.open.foreign = append(t.open.foreign, r)
	return r
}

// text is an attribute that is a string, "" without it.
func (t *reader) text(e *dwarf.Entry, a dwarf.Attr) string {
	f := e.AttrField(a)
	if f == nil {
		return ""
	}
	at := uint64(0)
	switch v := f.Val.(type) {
	case string:
		return v
	case int64:
		if f.Class != dwarf.ClassStringAlt {
			return ""
		}
		at = uint64(v)
	case uint32:
		at = uint64(v)
	case uint64:
		at = v
	default:
		return ""
	}
	s, ok := "", false
	if t.file != inShared {
		s, ok = t.data.SharedString(at)
	}
	if !ok {
		t.cannot("entry %#x has a name in a supplementary file that is not there", e.Offset)
	}
	return s
}

// maxShared bounds what all units together take from partial ones.
const maxShared = 1 << 24

// connect finds for each compilation unit the partial units and type units that
// it takes types from: dwz moves what several units describe to one that each of them imports.
// A unit that takes something from another compilation unit (LTO) is not whole.
// What other programs put into the supplementary file is forgotten.
func (t *reader) connect() {
	starts := slices.Clone(t.set.units)
	slices.SortFunc(starts, func(a, b *Unit) int { return compareRef(a.at, b.at) })
	serves := map[*Unit]bool{}
	total := 0
	for _, u := range starts {
		if u.part {
			continue
		}
		total += len(u.foreign)
		for _, p := range t.taken(u, starts) {
			if !p.part {
				u.Whole, u.imports = false, true
				continue
			}
			u.parts = append(u.parts, p)
			serves[p] = true
			total += p.types + len(p.foreign)
		}
		if total > maxShared {
			t.tooMuchShared()
			break
		}
	}
	foreign := func(u *Unit) bool { return u.at&inShared != 0 && !serves[u] }
	t.set.units = slices.DeleteFunc(t.set.units, foreign)
	t.later = slices.DeleteFunc(t.later, func(p pending) bool { return foreign(p.unit) })
}

// share gives each unit what its parts define. These are then dropped: all that
// they define stands where it is used.
func (t *reader) share() {
	served := map[*Unit]bool{}
	for _, u := range t.set.units {
		types := u.types
		for _, p := range u.parts {
			served[p] = true
			types += p.types
			for name, defs := range p.defs {
				for _, d := range defs {
					u.add(name, d)
				}
			}
			t.shareConstants(u, p)
			for _, name := range p.opaque {
				if !p.ofType || len(u.defs[name]) == 0 { // the scopes of types are declared beside them
					u.opaque = append(u.opaque, name)
				}
			}
		}
		if types == 0 && !u.part && u.Partial == "" && !u.imports {
			u.Partial = withoutTypes
		}
	}
	t.set.units = slices.DeleteFunc(t.set.units, func(u *Unit) bool { return served[u] && len(u.objects) == 0 })
}

// tooMuchShared: no unit is known to be whole.
func (t *reader) tooMuchShared() {
	t.cannot("too much is shared between units to be true")
	for _, u := range t.set.units {
		u.Whole = false
	}
	for i := range t.later {
		t.later[i].unit.parts = nil
	}
}

// taken are the units that u imports or refers to, and those of these.
func (t *reader) taken(u *Unit, starts []*Unit) []*Unit {
	seen := map[*Unit]bool{u: true}
	var out []*Unit
	for work := []*Unit{u}; len(work) > 0; {
		v := work[len(work)-1]
		work = work[:len(work)-1]
		for _, r := range v.foreign {
			k := sort.Search(len(starts), func(i int) bool { return starts[i].at > r }) - 1
			if k < 0 || r > starts[k].last {
				t.cannot("unit %s refers to place %#x, where no unit is", v.Name, uint64(r))
				u.Whole, u.imports = false, true
				continue
			}
			if p := starts[k]; !seen[p] {
				seen[p] = true
				out = append(out, p)
				if p.part {
					work = append(work, p)
				}
			}
		}
	}
	return out
}

func compareRef(a, b ref) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
