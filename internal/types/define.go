package types

import (
	"crypto/sha256"
	"debug/dwarf"
	"encoding/hex"
	"strconv"

	"hotpatch/internal/image"
)

// define makes definitions of the types of a unit.
func (t *reader) define(p pending) {
	t.unit = p.unit
	for _, n := range p.order {
		t.defineType(n)
	}
	for i := range p.uses {
		u := &p.uses[i]
		u.typ = t.describedBy(u.typ)
		t.enumUse(u.typ, u.kept)
	}
	for i := range p.locals {
		t.useOf(&p.locals[i])
	}
	for i := range p.constants {
		t.constantOf(&p.constants[i])
	}
	for i := range p.unit.objects {
		o := &p.unit.objects[i]
		o.typ = t.describedBy(o.typ)
		if size, ok := t.sizeOf(o.typ, 0); ok {
			o.size = image.Addr(max(size, 0))
		}
		o.kind = t.kindOf(o.typ)
	}
	for i := range p.unit.threads {
		o := &p.unit.threads[i]
		o.typ = t.describedBy(o.typ)
		o.kind = t.kindOf(o.typ)
	}
}

// describedBy is the type at r, or that of the variable there.
func (t *reader) describedBy(r ref) ref {
	for range maxTypeDepth {
		typ, ok := t.described[r]
		if !ok {
			break
		}
		r = typ
	}
	return r
}

func (t *reader) defineType(n *node) {
	if t.total > maxTotal {
		t.cannot("there are too many types to be true")
		return
	}
	d := &definition{}
	switch n.tag {
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		switch {
		case n.name != "":
			d.name = kindWord(n.tag) + " " + n.name
		case n.closure: // whoever keeps one does not say what it is
			d.name, n.local = kindWord(n.tag)+" "+n.scope+"<lambda>", true
		default:
			return
		}
		if n.opaque {
			t.unit.opaque = append(t.unit.opaque, d.name)
			return
		}
		t.layout(d, n)
	case dwarf.TagTypedef:
		st := t.unnamed(n.typ)
		if n.name == "" || st == nil {
			return
		}
		d.name = n.name
		t.layout(d, st)
		d.align = max(d.align, n.align)
	case dwarf.TagEnumerationType:
		if n.opaque {
			return
		}
		if d.name, d.scoped = enumName(n), n.scoped; len(n.fields) > maxMembers {
			t.cannot("%s has too many enumerators to be true", d.name)
			return
		}
		for _, f := range n.fields {
			d.members = append(d.members, member{name: f.name, at: f.at})
		}
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagArrayType:
		t.enumUse(n.typ, true)
		return
	default:
		return
	}
	d, isNew := t.one(d)
	if isNew {
		t.set.defs[d.name] = append(t.set.defs[d.name], d)
	}
	t.unit.add(d.name, d)
	if n.local {
		if t.unit.turns == nil {
			t.unit.turns = map[string][]*definition{}
		}
		t.unit.turns[d.name] = append(t.unit.turns[d.name], d)
	}
}

// one is the definition of that name and layout. Most units describe the same
// types: of a header there are many copies.
func (t *reader) one(d *definition) (same *definition, isNew bool) {
	d.key = d.keyOf()
	full := d.name + "\x00" + d.key
	if same := t.known[full]; same != nil {
		return same, false
	}
	t.known[full] = d
	t.total += len(d.members)
	return d, true
}

// unnamed is the struct or union without a name that a typedef of off is the way
// to: itself, or through pointers and arrays.
func (t *reader) unnamed(off ref) *node {
	for range maxTypeDepth {
		n := t.node(off)
		if n == nil {
			return nil
		}
		switch n.tag {
		case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType,
			dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType, dwarf.TagArrayType:
			off = n.typ
			continue
		}
		if n.name != "" || n.opaque || kindWord(n.tag) == "" {
			return nil
		}
		return n
	}
	return nil
}

// keyOf tells a layout from others. How its members are read comes last: types of
// one name are compared in the order of their keys.
func (d *definition) keyOf() string {
	b := make([]byte, 0, 1024)
	number := func(n int64) { b = append(strconv.AppendInt(b, n, 10), ' ') }
	number(d.size)
	if d.align != 0 {
		b = append(b, '%')
		number(d.align)
	}
	for i := range d.members {
		m := &d.members[i]
		b = append(append(b, m.name...), '@')
		number(m.at)
		number(m.size)
		if m.len != 0 {
			b = append(b, ':')
			number(m.bit)
			number(m.len)
		}
	}
	b = d.virtuals.keyed(b)
	b = append(b, 0)
	kinds := len(b)
	for i := range d.members {
		b = append(append(b, d.members[i].kind.identity()...), ';')
	}
	if len(b)-kinds > hex.EncodedLen(sha256.Size) {
		sum := sha256.Sum256(b[kinds:])
		b = append(b[:kinds], hex.EncodeToString(sum[:])...)
	}
	return string(b)
}

// layout lists the members of n and what they are.
func (t *reader) layout(d *definition, n *node) {
	d.size, d.align = max(n.size, 0), n.align
	d.members = t.flatten(nil, n, "", 0, 0)
	d.virtuals = virtualTableOf(n.virtual)
	for _, f := range n.fields {
		t.enumUse(f.typ, true)
	}
}

// flatten lists members, those of anonymous structs under their outer name.
func (t *reader) flatten(out []member, n *node, prefix string, at int64, depth int) []member {
	for i := range n.fields {
		f := &n.fields[i]
		m := member{name: prefix + f.name, at: at + f.at, kind: t.kindOf(f.typ)}
		if f.name == baseClass && m.kind != nil {
			m.name += m.kind.name
		}
		switch {
		case f.virtual:
			m.at, m.kind = -1, t.oneKind(kind{class: ofVirtualBase, text: "virtual base"})
		case f.len != 0:
			m.bit, m.len = 8*at+f.bit, f.len
		default:
			size, ok := t.sizeOf(f.typ, 0)
			if !ok {
				t.cannot("the size of member %s of %s is not known", m.name, n.name)
			}
			m.size = size
		}
		out = append(out, m)
		if depth > 8 {
			continue
		}
		if len(out) > maxMembers {
			t.cannot("%s has too many members to be true", n.name)
			return out
		}
		inner := t.node(f.typ)
		for k := 0; inner != nil && inner.tag == dwarf.TagArrayType && k < 8; k++ {
			inner = t.node(inner.typ)
		}
		if inner != nil && inner.name == "" && kindWord(inner.tag) != "" {
			p := m.name
			if p != "" {
				p += "."
			}
			out = t.flatten(out, inner, p, m.at, depth+1)
		}
	}
	return out
}

// maxMembers bounds the members or enumerators of one type, members of anonymous structs
// in it included: a damaged file may put one into itself.
const maxMembers = 1 << 16

// maxTotal bounds the members of all different types; Chromium has a million.
const maxTotal = 1 << 23

// maxTypeDepth bounds chains of typedefs and arrays, which may be circular in
// a damaged file.
const maxTypeDepth = 64

// node is the type that the entry at off describes or stands for; nil: none.
func (t *reader) node(off ref) *node {
	n := t.nodes[off]
	for range maxTypeDepth {
		if n == nil || n.stands == 0 {
			return n
		}
		n = t.nodes[n.stands]
	}
	return nil
}

// sizeOf is the size of a type in bytes. Functions, void and flexible arrays
// have none: 0.
func (t *reader) sizeOf(off ref, depth int) (int64, bool) {
	n := t.node(off)
	if n == nil || depth > maxTypeDepth {
		return 0, false
	}
	if n.size >= 0 {
		return n.size, true
	}
	switch n.tag {
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType, dwarf.TagPtrToMemberType:
		return 8, true
	case dwarf.TagTypedef, dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
		if n.typ == 0 {
			return 0, true // of void
		}
		return t.sizeOf(n.typ, depth+1)
	case dwarf.TagArrayType:
		size, ok := t.sizeOf(n.typ, depth+1)
		return size * max(n.count, 0), ok
	case dwarf.TagSubroutineType, dwarf.TagUnspecifiedType:
		return 0, true
	}
	return 0, false
}

// through follows typedefs and qualifiers.
func (t *reader) through(off ref) *node {
	for range maxTypeDepth {
		n := t.node(off)
		if n == nil {
			return nil
		}
		switch n.tag {
		case dwarf.TagTypedef, dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
			off = n.typ
		default:
			return n
		}
	}
	return nil
}

func kindWord(tag dwarf.Tag) string {
	switch tag {
	case dwarf.TagStructType:
		return "struct"
	case dwarf.TagClassType:
		return "class"
	case dwarf.TagUnionType:
		return "union"
	}
	return ""
}

// enumUse notes how the enumeration at off, if it is one, is used.
func (t *reader) enumUse(off ref, kept bool) {
	n := t.through(off)
	if n == nil || n.tag != dwarf.TagEnumerationType || n.opaque {
		return
	}
	if kept {
		t.set.kept[enumName(n)] = true
	} else {
		t.set.local[enumName(n)] = true
	}
}

// enumName: an anonymous enumeration is known by its first enumerator.
func enumName(n *node) string {
	switch {
	case n.name != "":
		return "enum " + n.name
	case len(n.fields) == 0:
		return "enum of nothing"
	}
	return "enum of " + n.scope + n.fields[0].name
}
