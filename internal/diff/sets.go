package diff

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// A linker set is a section whose name is an identifier, NAME: the linker then
// defines __start_NAME and __stop_NAME, and programs walk from one to the other
// over all that their files have put there. So the section is one table, though
// it consists of variables with names of their own, and its end is no end of any
// of these.

// SetsAt are the linker sets that start or end at t: at most one of each.
func (c *Code) SetsAt(t image.Addr) (sets []*image.Section) {
	for _, s := range c.Sections {
		if (s.Addr == t || s.Addr+s.Size == t) && s.Size > 0 && isIdentifier(s.Name) && (s.Class.Writable() || s.Class == image.ROData || s.Class == image.RelRO) {
			sets = append(sets, s)
		}
	}
	return sets
}

// SectionNamed is the first section of that name; nil: there is none.
func (c *Code) SectionNamed(name string) *image.Section {
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

// namesSet says whether a symbol is one that linkers define for a set. Some
// export it.
func namesSet(sym string) bool {
	return strings.HasPrefix(sym, "__start_") || strings.HasPrefix(sym, "__stop_")
}

// SetsBehind are the sets whose start or end a slot with a pointer holds; one with
// the name of something else holds that.
func (c *Code) SetsBehind(q *image.Reloc) []*image.Section {
	t, ok := Pointee(q)
	if !ok || q.Sym != "" && !namesSet(q.Sym) {
		return nil
	}
	return c.SetsAt(t)
}

// sameSets says whether the linker sets at an address that code takes have the
// same elements in both images: who goes over one uses them all, wherever in it
// the change is.
func (d *Diff) sameSets(ta, tb image.Addr) (bool, string) {
	was, is := d.Base.SetsAt(ta), d.Fixed.SetsAt(tb)
	if len(was) != len(is) {
		return false, "refers to the start or the end of another section"
	}
	for i, s := range is {
		if same, why := d.SameSet(was[i], s); !same {
			return false, why
		}
	}
	return true, ""
}

// SameSet says whether code that goes over b in the fixed image may go over a in
// the base image in its place, or else what is wrong with that.
func (d *Diff) SameSet(a, b *image.Section) (bool, string) {
	if a.Name != b.Name {
		return false, "refers to the section " + b.Name + " instead of " + a.Name
	}
	if a.Class.Writable() != b.Class.Writable() {
		return false, "goes over " + b.Name + ", which may be written to in one image only"
	}
	if a.Size != b.Size {
		return false, fmt.Sprintf("goes over %s, which has %d bytes instead of %d", b.Name, uint64(b.Size), uint64(a.Size))
	}
	if b.Class == image.ROData && !bytes.Equal(d.Base.Bytes(a.Addr, int(a.Size)), d.Fixed.Bytes(b.Addr, int(b.Size))) {
		return false, "goes over the constants in " + b.Name + ", which differ"
	}
	if b.Class.Writable() {
		return true, "" // the process has its own
	}
	p, q := d.Base.RelocsIn(a.Addr, a.Addr+a.Size), d.Fixed.RelocsIn(b.Addr, b.Addr+b.Size)
	if len(p) != len(q) {
		return false, "goes over the pointers in " + b.Name + ", which differ"
	}
	for i := range p {
		if p[i].At-a.Addr != q[i].At-b.Addr {
			return false, "goes over the pointers in " + b.Name + ", which differ"
		}
		if same, _ := d.samePointer(&p[i], &q[i], nil); !same {
			return false, "goes over the pointers in " + b.Name + ", which differ"
		}
	}
	return true, ""
}
