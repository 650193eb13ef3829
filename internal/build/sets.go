package build

import (
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// set binds an address where a linker set starts or ends: that of the set whose
// both ends f takes. True: there is nothing left to bind.
func (e *emitter) set(f *diff.Func, k int) bool {
	r := &f.Refs[k]
	if r.Kind != diff.Lea {
		return false
	}
	sets := e.d.Fixed.SetsAt(r.Target)
	walked := slices.DeleteFunc(slices.Clone(sets), func(s *image.Section) bool { return !e.takes(f, s.Addr) || !e.takes(f, s.Addr+s.Size) })
	if len(walked) == 0 {
		// It may be the address of an element, or of what follows; constants that
		// others go over come along all the same.
		if !slices.ContainsFunc(sets, e.carriedFor) {
			return false
		}
		walked = sets
	}
	s := walked[0]
	if !e.agree(r.Target, walked) || len(sets) == 1 && e.meantOtherwise(f, k, s) {
		switch i := slices.IndexFunc(sets, func(s *image.Section) bool { return e.certain(f, k, s) }); {
		case i >= 0:
			s = sets[i]
		default:
			e.refuse(endPointer, "it takes the address %#x, which is an end of %s and belongs to something else, too, and these two do not stay together", uint64(r.Target), s.Name)
			return true
		}
	}
	base, why := e.counterpart(s)
	switch {
	case base != nil:
		e.leave(f, r, base.Addr+(r.Target-s.Addr), s.Name)
	case s.Class.Writable():
		e.refuse(endPointer, "it %s: a running program has gathered there what it has", why)
	default:
		e.carrySet(s)
	}
	return true
}

// setSlot binds a GOT slot that holds where a linker set starts or ends. True:
// there is nothing left to bind.
func (e *emitter) setSlot(f *diff.Func, r *diff.Ref, q *image.Reloc) bool {
	sets := e.d.Fixed.SetsBehind(q)
	if len(sets) == 0 {
		return false
	}
	t, _ := diff.Pointee(q)
	var to image.Addr
	starts, agree := false, true
	for i, s := range sets {
		base, why := e.counterpart(s)
		if base == nil {
			e.refuse(endPointer, "it %s, and finds that by way of the GOT", why)
			return true
		}
		at := base.Addr + (t - s.Addr)
		agree = agree && (i == 0 || at == to)
		to, starts = at, starts || t == s.Addr
	}
	if q.Sym != "" {
		return false // the name says which
	}
	// Something else may start where a set ends.
	if c := e.d.Fixed.ClassAt(t); !starts && !slices.Contains(sets, e.d.Fixed.SectionAt(t)) && (c == image.ROData || c == image.RelRO || c.Writable()) {
		at, ok := e.place(t)
		agree = agree && ok && at == to
	}
	if !agree {
		e.refuse(endPointer, "it finds the address %#x by way of the GOT, which is an end of %s and belongs to something else, too, and these two do not stay together", uint64(t), sets[0].Name)
		return true
	}
	e.redirect(f, r, e.slot(slot{base: to}))
	return true
}

// counterpart is the set of the base image that is the same as s, or why there
// is none.
func (e *emitter) counterpart(s *image.Section) (*image.Section, string) {
	base := e.d.Base.SectionNamed(s.Name)
	if base == nil {
		return nil, "goes over " + s.Name + ", which the base image has not"
	}
	same, why := e.d.SameSet(base, s)
	if !same {
		return nil, why
	}
	return base, ""
}

// carrySet brings a copy of all that is in s.
func (e *emitter) carrySet(s *image.Section) {
	lo, hi := s.Addr, s.Addr+s.Size
	if s.Class == image.RelRO {
		e.carryPointers(lo, hi)
		return
	}
	e.pointersIn(lo, hi)
	e.consts.add(lo, hi)
	e.note(tableCarried, "it brings its own copy of the constants in %s, which changed; pointers to the old ones stay with them", s.Name)
}

// carriedFor: s is constant, changed, and some functions go over it.
func (e *emitter) carriedFor(s *image.Section) bool {
	if s.Class.Writable() {
		return false
	}
	if base, _ := e.counterpart(s); base != nil {
		return false
	}
	any := func(t image.Addr) bool {
		return slices.ContainsFunc(e.d.Fixed.Funcs, func(g *diff.Func) bool { return e.takes(g, t) })
	}
	return any(s.Addr) && any(s.Addr+s.Size)
}

// setPlace is where carried code finds the address t, at an end of s: in the base
// image, or in the copy.
func (e *emitter) setPlace(t image.Addr, s *image.Section) (image.Addr, bool) {
	if base, _ := e.counterpart(s); base != nil {
		return base.Addr + (t - s.Addr), true
	}
	return t, false
}

// agree: whichever of the sets is meant, it is one place.
func (e *emitter) agree(t image.Addr, sets []*image.Section) bool {
	to, inBase := e.setPlace(t, sets[0])
	return !slices.ContainsFunc(sets[1:], func(s *image.Section) bool {
		at, in := e.setPlace(t, s)
		return at != to || in != inBase || !in && sets[0].Class != s.Class
	})
}

// meantOtherwise: reference k of f to an end of s may also mean an object of no
// set, which starts or ends there, and is at another place for carried code.
func (e *emitter) meantOtherwise(f *diff.Func, k int, s *image.Section) bool {
	t := f.Refs[k].Target
	other, ok := t, true // what starts where the set ends
	if t == s.Addr {
		other, ok = e.d.Before(t)
	}
	switch c := e.d.Fixed.ClassAt(other); {
	case !ok, c != image.ROData && c != image.RelRO && !c.Writable(), e.d.Literal(other):
		return false
	case e.onlyOf(s, f, t):
		return false
	}
	at, in := e.place(other)
	to, inBase := e.setPlace(t, s)
	return in != inBase || in && at+(t-other) != to || !in && e.d.Fixed.SectionAt(other).Class != s.Class
}

// onlyOf: nobody refers to t but who goes over s, and f does so once.
func (e *emitter) onlyOf(s *image.Section, f *diff.Func, t image.Addr) bool {
	for _, g := range e.d.Fixed.Funcs {
		n := 0
		for k := range g.Refs {
			if g.Refs[k].Target == t {
				n++
			}
		}
		if g == f && n > 1 || n > 0 && g.Source != image.FromGap && !(e.takes(g, s.Addr) && e.takes(g, s.Addr+s.Size)) {
			return false
		}
	}
	return !slices.ContainsFunc(e.d.Fixed.Relocs, func(r image.Reloc) bool { p, ok := diff.Pointee(&r); return ok && p == t })
}

// certain: what f does with the address of its reference k shows that s is meant:
// a walk over s ends there; or nothing does, and it is one that starts.
func (e *emitter) certain(f *diff.Func, k int, s *image.Section) bool {
	w := e.walk(f, k)
	t := f.Refs[k].Target
	over := func(a diff.Taken) bool {
		at := a.F.Refs[a.K].Target
		return at >= s.Addr && at < s.Addr+s.Size
	}
	if t == s.Addr {
		return len(w.From) == 0 && w.Start && !w.Elsewhere
	}
	return len(w.From) > 0 && !slices.ContainsFunc(w.From, func(a diff.Taken) bool { return !over(a) }) && !w.Start && !w.Elsewhere && !w.Used
}

// takes says that f or a part of it takes the address t, an end of a set; by way of
// the GOT, too.
func (e *emitter) takes(f *diff.Func, t image.Addr) bool {
	return slices.ContainsFunc(append([]*diff.Func{f}, e.d.Parts(f)...), func(g *diff.Func) bool {
		return slices.ContainsFunc(g.Refs, func(r diff.Ref) bool {
			if r.Class == image.GOT {
				q := e.d.Fixed.RelocAt(r.Target)
				return q != nil && slices.ContainsFunc(e.d.Fixed.SetsBehind(q), func(s *image.Section) bool { p, _ := diff.Pointee(q); return p == t })
			}
			return r.Kind == diff.Lea && r.Target == t
		})
	})
}
