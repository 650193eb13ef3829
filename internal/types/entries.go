package types

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"strings"

	"hotpatch/internal/image"
)

// node is a type as its entry describes it. We do not ask debug/dwarf for
// types: it refuses whole structs for one member it does not know (char32_t).
type node struct {
	off     ref
	tag     dwarf.Tag
	name    string // with its scopes
	typ     ref
	size    int64 // -1: not said
	count   int64 // of an array: elements; -1: unknown
	inner   int64 // of an array of more than one dimension: elements of each of the first; else 0
	align   int64 // asked for; 0: nothing is
	opaque  bool
	local   bool   // of a function
	scoped  bool   // enum class
	scope   string // of what has no name
	closure bool   // a class without a name that can be called
	fields  []field
	virtual []virtualFunction
	withKey bool // it has virtual functions of its own
	stands  ref  // the entry stands for a type of another unit
	form    baseForm
	// Of a function: its parameters are fields.
	prototyped, open bool
}

// field is a member, base class or enumerator.
type field struct {
	name     string
	typ      ref
	at       int64
	bit, len int64 // bit: from the start of the type; len 0: no bit field
	value    bool
	virtual  bool // base: its place is not fixed
}

// entry takes what one entry says of types.
func (t *reader) entry(e *dwarf.Entry, f *frame) {
	typ := t.reference(e, dwarf.AttrType)
	hasType := typ != 0
	parent := t.parent()
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType,
		dwarf.TagTypedef, dwarf.TagBaseType, dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType,
		dwarf.TagPtrToMemberType, dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType,
		dwarf.TagArrayType, dwarf.TagSubroutineType, dwarf.TagUnspecifiedType:
		f.node = t.typeNode(e, f, typ)
	case dwarf.TagSubrangeType:
		if parent != nil && parent.tag == dwarf.TagArrayType {
			n := subrange(e)
			if parent.count >= 0 {
				parent.inner = max(parent.inner, 1) * max(n, 0)
			}
			parent.count = times(parent.count, n)
		}
	case dwarf.TagMember, dwarf.TagInheritance:
		t.constant(e, f.name, typ)
		if hasType && parent != nil {
			t.member(e, f.name, typ, parent)
		}
	case dwarf.TagEnumerator:
		if parent != nil {
			v, _ := e.Val(dwarf.AttrConstValue).(int64)
			parent.fields = append(parent.fields, field{name: f.name, at: v, value: true})
		}
	case dwarf.TagSubprogram:
		if parent != nil && e.Val(dwarf.AttrVirtuality) != nil {
			parent.withKey = true
		}
		if slot := e.Val(dwarf.AttrVtableElemLoc); slot != nil && parent != nil {
			name := f.name
			if strings.HasPrefix(name, "~") {
				name = "~" // of whichever class
			}
			parent.virtual = append(parent.virtual, virtualFunction{name, fmt.Sprintf("%x", slot), takenBy(t.text(e, dwarf.AttrLinkageName))})
		}
		if hasType {
			t.open.uses = append(t.open.uses, use{typ: typ})
		}
		if parent != nil && parent.name == "" && (f.name == "operator()" || f.name == "~<lambda>") {
			parent.closure = true
		}
		if f.name == "" {
			f.of = t.origin(e)
		}
	case dwarf.TagUnspecifiedParameters:
		if parent != nil {
			parent.open = true
		}
	case dwarf.TagVariable, dwarf.TagFormalParameter:
		if parent != nil && parent.tag == dwarf.TagSubroutineType {
			parent.fields = append(parent.fields, field{typ: typ})
		}
		if e.Tag == dwarf.TagVariable {
			t.constant(e, f.name, typ)
		}
		at, fixed := address(e)
		place, ofThread := threadPlaceOf(e)
		if typ == 0 { // where it is defined, C says no more than which declaration is meant
			typ = t.reference(e, dwarf.AttrSpecification)
			hasType = typ != 0
			if typ == 0 && (fixed || ofThread) { // or, of LTO and in functions, which description
				typ = t.reference(e, dwarf.AttrAbstractOrigin)
				hasType = typ != 0
			}
		} else if e.Tag == dwarf.TagVariable && e.Val(dwarf.AttrLocation) == nil {
			here := t.here(e.Offset)
			t.described[here] = typ
			t.open.declared = append(t.open.declared, here)
		}
		if fixed {
			t.unit.objects = append(t.unit.objects, placed{at: at, typ: typ, name: f.name})
		} else if ofThread {
			t.unit.threads = append(t.unit.threads, placed{at: place, typ: typ, name: f.name})
		}
		if hasType {
			fn := t.function()
			t.open.uses = append(t.open.uses, use{typ, e.Tag == dwarf.TagVariable && (fixed || fn == nil)})
			if fn != nil && !fixed {
				t.local(e, f.name, typ, fn)
			}
		}
	case dwarf.TagImportedUnit:
		t.reference(e, dwarf.AttrImport)
	}
}

// address is where the linker put a variable.
func address(e *dwarf.Entry) (image.Addr, bool) {
	const opAddr = 3 // DW_OP_addr
	loc, _ := e.Val(dwarf.AttrLocation).([]byte)
	if len(loc) < 9 || loc[0] != opAddr {
		return 0, false
	}
	return image.Addr(binary.LittleEndian.Uint64(loc[1:])), true
}

// threadPlaceOf is where a variable is in the thread-local block.
func threadPlaceOf(e *dwarf.Entry) (image.Addr, bool) {
	const (
		opConst8u           = 0x0e
		opFormTLSAddress    = 0x9b
		opGNUPushTLSAddress = 0xe0
	)
	loc, _ := e.Val(dwarf.AttrLocation).([]byte)
	if len(loc) != 10 || loc[0] != opConst8u || loc[9] != opFormTLSAddress && loc[9] != opGNUPushTLSAddress {
		return 0, false
	}
	return image.Addr(binary.LittleEndian.Uint64(loc[1:])), true
}

func (t *reader) parent() *node {
	if n := len(t.stack); n > 0 {
		return t.stack[n-1].node
	}
	return nil
}

func (t *reader) inFunction() bool { return t.function() != nil }

// function is the innermost one that is open.
func (t *reader) function() *frame {
	for i := len(t.stack) - 1; i >= 0; i-- {
		if t.stack[i].tag == dwarf.TagSubprogram {
			return &t.stack[i]
		}
	}
	return nil
}

func (t *reader) typeNode(e *dwarf.Entry, f *frame, typ ref) *node {
	n := &node{off: t.here(e.Offset), tag: e.Tag, typ: typ, size: -1, count: -1, opaque: e.Val(dwarf.AttrDeclaration) != nil}
	if s, ok := e.Val(dwarf.AttrByteSize).(int64); ok {
		n.size = s
	}
	if e.Tag == dwarf.TagBaseType {
		n.form = baseFormOf(e, f.name)
	}
	n.align, _ = e.Val(dwarf.AttrAlignment).(int64)
	n.prototyped = e.Val(dwarf.AttrPrototyped) != nil
	if e.AttrField(dwarf.AttrSpecification) != nil { // a type unit declares the scopes of its type
		if d := t.nodes[t.reference(e, dwarf.AttrSpecification)]; d != nil {
			f.full = d.name
		}
		if f.full == "" {
			t.cannot("type %s at %#x completes a declaration that is not there", f.name, e.Offset)
		}
	}
	switch {
	case f.full != "":
		n.name = f.full
	case f.name != "":
		n.local = (kindWord(e.Tag) != "" || e.Tag == dwarf.TagEnumerationType) && !n.opaque && t.inFunction()
		n.name = t.scope(n.local) + f.name
	case e.Tag == dwarf.TagEnumerationType || kindWord(e.Tag) != "":
		n.scope = t.scope(true)
	}
	n.scoped = e.Val(dwarf.AttrEnumClass) != nil
	t.nodes[n.off] = n
	if n.stands = t.reference(e, dwarf.AttrSignature); n.stands != 0 {
		return n
	}
	if p := t.parent(); p != nil && n.opaque && n.name != "" && !p.opaque && p.stands == 0 && kindWord(n.tag) != "" {
		t.inner = append(t.inner, inner{p, kindWord(n.tag) + " " + n.name})
	}
	t.open.order = append(t.open.order, n)
	return n
}

// scope is what names of the open entries have before them. Two functions may have
// types of one name. What is only declared in one may be meant for what another one
// completes.
func (t *reader) scope(functions bool) string {
	name := ""
	for i := range t.stack {
		s := &t.stack[i]
		switch s.tag {
		case dwarf.TagSubprogram:
			if functions {
				name += t.functionName(s.name, s.of) + "()::"
			}
		case dwarf.TagNamespace, dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
			switch {
			case s.full != "":
				name = s.full + "::"
			case s.name != "":
				name += s.name + "::"
			}
		}
	}
	return name
}

// subrange is the number of elements of one dimension, -1 when it is not said.
func subrange(e *dwarf.Entry) int64 {
	if n, ok := e.Val(dwarf.AttrCount).(int64); ok {
		return n
	}
	if n, ok := e.Val(dwarf.AttrUpperBound).(int64); ok && n >= -1 {
		return n + 1
	}
	return -1
}

// times multiplies counts; -1 stands for none yet, and an unknown dimension
// makes the array one of unknown size, as a flexible member is: 0.
func times(n, m int64) int64 {
	if m < 0 {
		m = 0
	}
	if n < 0 {
		return m
	}
	return n * m
}

// baseClass is what the name of a member starts with that is one.
const baseClass = "base class "

// member adds a member or base class.
func (t *reader) member(e *dwarf.Entry, name string, typ ref, parent *node) {
	if e.Val(dwarf.AttrDeclaration) != nil || e.Val(dwarf.AttrExternal) != nil {
		return // static
	}
	m := field{name: name, typ: typ}
	if e.Tag == dwarf.TagInheritance {
		m.name = baseClass
		m.virtual = e.Val(dwarf.AttrVirtuality) != nil
	}
	switch at := e.Val(dwarf.AttrDataMemberLoc).(type) {
	case int64:
		m.at = at
	case []byte:
		const plusUconst = 0x23
		if v, n := uleb(at[min(1, len(at)):]); len(at) > 1 && at[0] == plusUconst && n > 0 {
			m.at = v
		} else {
			m.virtual = true
		}
	}
	if n, ok := e.Val(dwarf.AttrBitSize).(int64); ok {
		m.len = n
		if bit, ok := e.Val(dwarf.AttrDataBitOffset).(int64); ok {
			m.bit, m.at = bit, bit/8
		} else if bit, ok := e.Val(dwarf.AttrBitOffset).(int64); ok {
			// DWARF 3: counted from the high end of a storage unit.
			size, _ := e.Val(dwarf.AttrByteSize).(int64)
			m.bit = 8*m.at + 8*size - bit - n
		}
	}
	parent.fields = append(parent.fields, m)
}

func uleb(b []byte) (v int64, n int) {
	for i, c := range b {
		if i == 9 {
			break
		}
		v |= int64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
