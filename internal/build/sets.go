package build

import (
	"bytes"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// set binds an address where a linker set starts or ends. True: there is
// nothing left to bind.
func (e *emitter) set(f *diff.Func, k int) bool {
	r := &f.Refs[k]
	if r.Kind != diff.Lea {
		return false
	}
	sets := e.d.Fixed.SetsAt(r.Target)
	if len(sets) == 0 {
		return false
	}
	s := sets[0]
	walked := e.takes(f, s.Addr) && e.takes(f, s.Addr+s.Size)
	base := sectionNamed(e.d.Base, s.Name)
	sized := base != nil && base.Size == s.Size
	switch {
	case sized && (s.Class != image.ROData || bytes.Equal(e.d.Base.Bytes(base.Addr, int(s.Size)), e.d.Fixed.Bytes(s.Addr, int(s.Size)))):
		if !walked || s.Class == image.RelRO {
			return false // it may be the address of an element, or of what follows
		}
		e.leave(f, r, base.Addr+(r.Target-s.Addr), s.Name)
	case s.Class == image.ROData:
		any := func(t image.Addr) bool {
			return slices.ContainsFunc(e.d.Fixed.Funcs, func(g *diff.Func) bool { return e.takes(g, t) })
		}
		if !walked && !(any(s.Addr) && any(s.Addr+s.Size)) {
			return false
		}
		e.consts.add(s.Addr, s.Addr+s.Size)
		e.note(tableCarried, "it brings its own copy of the constants in %s, which changed; pointers to the old ones stay with them", s.Name)
	default:
		e.refuse(endPointer, "it goes over what all files put into %s, which has another size (%d bytes) than in the base image: a running program has gathered there what it has", s.Name, s.Size)
	}
	return true
}

// takes says that f or a part of it takes the address t.
func (e *emitter) takes(f *diff.Func, t image.Addr) bool {
	return slices.ContainsFunc(append([]*diff.Func{f}, e.d.Parts(f)...), func(g *diff.Func) bool {
		return slices.ContainsFunc(g.Refs, func(r diff.Ref) bool { return r.Kind == diff.Lea && r.Target == t })
	})
}

func sectionNamed(c *diff.Code, name string) *image.Section {
	i := slices.IndexFunc(c.Sections, func(s *image.Section) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return c.Sections[i]
}
