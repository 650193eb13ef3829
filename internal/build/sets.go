package build

import (
	"bytes"
	"slices"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// A linker set is a section whose name is an identifier, NAME: the linker then
// defines __start_NAME and __stop_NAME, and programs walk from one to the other
// over all that their files have put there. So the section is one table, though
// it consists of variables with names of their own, and its end is no end of any
// of these.

// set binds an address where a linker set starts or ends. True: there is
// nothing left to bind.
func (e *emitter) set(f *diff.Func, k int) bool {
	r := &f.Refs[k]
	if r.Kind != diff.Lea {
		return false
	}
	s := e.setAt(r.Target)
	if s == nil {
		return false
	}
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

// setAt is the linker set of the fixed image that starts or ends at t.
func (e *emitter) setAt(t image.Addr) *image.Section {
	i := slices.IndexFunc(e.d.Fixed.Sections, func(s *image.Section) bool {
		return isIdentifier(s.Name) && (s.Addr == t || s.Addr+s.Size == t) && (s.Class.Writable() || s.Class == image.ROData || s.Class == image.RelRO)
	})
	if i < 0 {
		return nil
	}
	return e.d.Fixed.Sections[i]
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

// isIdentifier says that a linker defines __start_NAME for a section.
func isIdentifier(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && !strings.ContainsRune("0123456789", rune(name[0]))
}
