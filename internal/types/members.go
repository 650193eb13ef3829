package types

import (
	"fmt"
	"slices"
	"strings"
)

// compareTypes describes how b differs from a.
func (c *Comparison) compareTypes(a, b *definition) (Difference, bool) {
	l := Difference{Type: b.name}
	if strings.HasPrefix(b.name, "enum ") {
		l.Detail, l.Local = enumDiffers(a, b)
		l.Enum = l.Local
		return l, l.Detail != ""
	}
	return c.compareMembers(a, b)
}

// compareMembers is compareTypes of two classes, structs or unions.
func (c *Comparison) compareMembers(a, b *definition) (Difference, bool) {
	l := Difference{Type: b.name}
	if a.key == b.key {
		return l, false
	}
	if !a.virtuals.sameNames(b.virtuals) {
		l.Detail = "its virtual functions differ"
		return l, true
	}
	if name := changedPlaces(a.virtuals, b.virtuals); name != "" {
		l.Detail = fmt.Sprintf("its virtual functions differ: those of the name %s changed places", name)
		return l, true
	}
	if a.size != b.size {
		l.Was, l.Is = a.size, b.size
		l.Detail = fmt.Sprintf("has %d bytes instead of %d%s", b.size, a.size, memberChange(a, b))
		return l, true
	}
	if !slices.Equal(virtualBases(a), virtualBases(b)) {
		l.Detail = "its virtual base classes are others, or in another order"
		return l, true
	}
	if d := memberChange(a, b); d != "" {
		l.Detail = strings.TrimPrefix(d, ": ")
		return l, true
	}
	if a.align != b.align {
		l.Detail = fmt.Sprintf("is aligned to %s instead of %s", asked(b.align), asked(a.align))
		return l, true
	}
	worst := unchanged
	for i := range b.members {
		m := &b.members[i]
		old := twin(b, i, a)
		if r := c.readMember(old, m); r > worst {
			worst = r
			l.Detail = m.label() + " " + c.differs(old.kind, m.kind)
		}
	}
	if l.Padding = worst != misread; worst != unchanged {
		return l, true
	}
	for i := range b.members {
		m := &b.members[i]
		if twin(b, i, a) == nil {
			l.Detail = fmt.Sprintf("member %s is new at offset %d, where nothing was", m.name, m.at)
			if o := a.at(m); o != nil {
				l.Detail = fmt.Sprintf("member %s took the place of %s", m.name, o.name)
			}
			return l, true
		}
	}
	l.Detail = "members are in another order"
	return l, !slices.EqualFunc(a.members, b.members, func(m, n member) bool { return m.name == n.name })
}

// readMember tells what becomes of a member with its name, if it had one.
func (c *Comparison) readMember(old, m *member) reading {
	if old == nil || m.name == "" {
		return unchanged // the members of an anonymous struct have names
	}
	if m.len == 1 && old.len == 1 && m.kind.is(ofInteger) && old.kind.is(ofInteger) && (m.kind.def == "" || old.kind.def == "") {
		return unchanged // whatever number or truth value it is
	}
	return c.read(old.kind, m.kind, 0)
}

func (m *member) label() string {
	if m.base() {
		return m.name
	}
	return "member " + m.name
}

// virtualBases are the names of those of d: where they are, no member tells.
func virtualBases(d *definition) (out []string) {
	for i := range d.members {
		if m := &d.members[i]; m.kind.is(ofVirtualBase) {
			out = append(out, m.name)
		}
	}
	return out
}

// base says that m is a base class.
func (m *member) base() bool { return strings.HasPrefix(m.name, baseClass) }

func asked(n int64) string {
	if n == 0 {
		return "what its members need"
	}
	return fmt.Sprintf("%d bytes", n)
}

// twin is the member of b with the name of a.members[i]; of several that are anonymous
// the one of its turn. A base class may be another one than before. nil: there is
// none.
func twin(a *definition, i int, b *definition) *member {
	m := &a.members[i]
	if m.name == "" {
		return b.nth(a.turn(i))
	}
	if i < len(b.members) && b.members[i].name == m.name {
		return &b.members[i]
	}
	if n := b.find(m.name); n != nil {
		return n
	}
	if n := b.at(m); n != nil && m.base() && n.base() && a.find(n.name) == nil {
		return n
	}
	return nil
}

// memberChange names the first member that moved, changed its size or went
// away without one that took exactly its place.
func memberChange(a, b *definition) string {
	for i := range a.members {
		m := &a.members[i]
		n := twin(a, i, b)
		switch {
		case m.name == "":
			if b.at(m) == nil {
				return fmt.Sprintf(": the anonymous member at offset %d changed", m.at)
			}
		case n == nil && b.at(m) == nil:
			return fmt.Sprintf(": member %s at offset %d is gone", m.name, m.at)
		case n == nil:
		case n.at != m.at || n.bit != m.bit:
			return fmt.Sprintf(": member %s moved from offset %s to %s", m.name, m.place(), n.place())
		case n.size != m.size || n.len != m.len:
			return fmt.Sprintf(": member %s has another size", m.name)
		}
	}
	for i := range b.members {
		n := &b.members[i]
		if a.find(n.name) == nil && a.at(n) == nil && a.overlaps(n) {
			return fmt.Sprintf(": member %s overlaps old members", n.name)
		}
	}
	return ""
}

func (m *member) place() string {
	if m.len > 0 {
		return fmt.Sprintf("%d bit %d", m.bit/8, m.bit%8)
	}
	return fmt.Sprint(m.at)
}

func (m *member) bits() (lo, hi int64) {
	if m.len > 0 {
		return m.bit, m.bit + m.len
	}
	return 8 * m.at, 8 * (m.at + m.size)
}
