package types

import (
	"crypto/sha256"
	"debug/dwarf"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// kind says how the bits of a type are read, as far as two types of one size can
// differ in that. It leaves out what changes no reading: signedness, qualifiers,
// names of typedefs, which integer of a size (char or an enumeration). Kinds of one
// image with equal text are one; nil is one that is not known, and goes with any.
type kind struct {
	class  kindClass
	size   int64  // of integers and floats, in bytes
	name   string // of a struct or union, with its scopes; "" for an anonymous one
	def    string // the name of its definition; that of an enumeration, too
	union  bool
	anon   *definition // of one without any name: what it is
	form   baseForm    // of integers and floats
	to     *kind       // of a pointer or array; what a function returns
	params []*kind     // of a function
	open   bool        // of a function: nothing is said of its parameters
	// Of an array: elements, and how many of them an index of its first dimension
	// skips; 0: not known.
	count, inner int64
	// text is for people, but for what tells apart structs without a name.
	text string
}

type kindClass uint8

const (
	ofVoid kindClass = iota
	ofInteger
	ofFloat
	ofPointer
	ofMemberPointer // of C++
	ofArray
	ofStruct // class or union, too
	ofFunction
	ofVirtualBase
)

const (
	// maxKindDepth bounds pointers to pointers, and functions in parameters, as far
	// as they are compared, and maxMadeDepth as far as they are read: a kind that was
	// cut is known by less than it is.
	maxKindDepth = 12
	maxMadeDepth = 200
	maxParams    = 64
	// maxKindText is where the text of a kind is cut: those of C++ can be long.
	maxKindText = 200
	// maxUnnamed bounds the members of unnamed structs that are read: every unit
	// describes its own anew.
	maxUnnamed = 1 << 26
	// maxUnnamedDepth bounds unnamed structs that point to others.
	maxUnnamedDepth = 32
)

func (k *kind) String() string {
	if k == nil {
		return "anything"
	}
	return layoutMark().ReplaceAllString(k.text, "")
}

// identity is the text that tells k from others.
func (k *kind) identity() string {
	if k == nil {
		return "anything"
	}
	return k.text
}

// layoutMark is what tells apart structs without a name, and enumerations of two sizes.
var layoutMark = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`#[0-9a-f]+`) })

func (k *kind) is(c kindClass) bool { return k != nil && k.class == c }

// kindOf is the kind of the type at off.
func (t *reader) kindOf(off ref) *kind { return t.kind(off, 0) }

func (t *reader) kind(off ref, depth int) *kind {
	k, done := t.kinds[off]
	if done || depth > maxMadeDepth {
		return k
	}
	t.kinds[off] = nil // a damaged file may lead back here
	k = t.makeKind(off, depth)
	t.kinds[off] = k
	return k
}

func (t *reader) makeKind(off ref, depth int) *kind {
	alias := ""
	for range maxTypeDepth {
		if off == 0 {
			return t.oneKind(kind{class: ofVoid, text: "void"})
		}
		n := t.node(off)
		if n == nil {
			return nil
		}
		switch n.tag {
		case dwarf.TagTypedef:
			if n.name != "" {
				alias = n.name
			}
		case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
		default:
			return t.kindOfNode(n, alias, depth)
		}
		off = n.typ
	}
	return nil
}

// kindOfNode is the kind of n, which is no other name of a type; alias is the last
// one that led to it.
func (t *reader) kindOfNode(n *node, alias string, depth int) *kind {
	switch n.tag {
	case dwarf.TagBaseType, dwarf.TagEnumerationType:
		switch {
		case n.size < 0:
			return nil
		case n.form.float:
			return t.oneKind(kind{class: ofFloat, size: n.size, form: n.form, text: n.form.text(n.size, "float")})
		}
		k := kind{class: ofInteger, size: n.size, form: n.form, text: n.form.text(n.size, "integer")}
		if n.tag == dwarf.TagEnumerationType {
			k.def = enumName(n)
			if k.text = k.def; n.name == "" && alias != "" {
				k.text = alias + " (" + k.def + ")"
			}
			k.text += "#" + strconv.FormatInt(n.size, 16)
		}
		return t.oneKind(k)
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType:
		to := t.kind(n.typ, depth+1)
		return t.oneKind(kind{class: ofPointer, to: to, text: "pointer to " + to.identity()})
	case dwarf.TagPtrToMemberType:
		to := t.kind(n.typ, depth+1)
		return t.oneKind(kind{class: ofMemberPointer, to: to, text: "pointer to member " + to.identity()})
	case dwarf.TagArrayType:
		return t.oneKind(arrayKind(n, t.kind(n.typ, depth+1)))
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		return t.structKind(n, alias)
	case dwarf.TagSubroutineType:
		return t.functionKind(n, depth)
	case dwarf.TagUnspecifiedType:
		return t.oneKind(kind{class: ofVoid, text: "void"})
	}
	return nil
}

// structKind is the kind of a struct, class or union; alias is the typedef that led
// to it. One with neither a name nor an alias is known by its layout alone.
func (t *reader) structKind(n *node, alias string) *kind {
	k := kind{class: ofStruct, name: n.name, union: n.tag == dwarf.TagUnionType}
	if n.name != "" {
		k.def = kindWord(n.tag) + " " + n.name
	} else {
		k.name, k.def = alias, alias
	}
	if k.text = k.def; k.def != "" {
		return t.oneKind(k)
	}
	k.text = "unnamed " + kindWord(n.tag)
	if n.opaque || t.deep >= maxUnnamedDepth {
		return t.oneKind(k)
	}
	t.deep++
	d := &definition{name: k.text}
	t.layout(d, n)
	t.deep--
	if t.work += len(d.members); t.work > maxUnnamed || t.total > maxTotal {
		t.cannot("there are too many types to be true")
		return t.oneKind(k)
	}
	k.anon, _ = t.one(d)
	sum := sha256.Sum256([]byte(k.anon.key))
	k.text += fmt.Sprintf("#%x", sum[:12])
	return t.oneKind(k)
}

// arrayKind is an array of elements of kind to; one of arrays has several dimensions.
func arrayKind(n *node, to *kind) kind {
	k := kind{class: ofArray, to: to, count: max(n.count, 0), inner: max(n.inner, 1)}
	if to.is(ofArray) {
		k.to, k.count, k.inner = to.to, k.count*to.count, k.inner*to.count
	}
	k.text = fmt.Sprintf("array of %s", k.to.identity())
	switch {
	case k.inner > 1:
		k.text = fmt.Sprintf("array [%d][%d] of %s", k.count/k.inner, k.inner, k.to.identity())
	case k.count > 0:
		k.text = fmt.Sprintf("array [%d] of %s", k.count, k.to.identity())
	}
	return k
}

func (t *reader) functionKind(n *node, depth int) *kind {
	k := kind{class: ofFunction, to: t.kind(n.typ, depth+1), open: n.open || len(n.fields) == 0 && !n.prototyped}
	names := make([]string, 0, 4)
	for i := range n.fields {
		if i == maxParams {
			k.open = true
			break
		}
		p := t.kind(n.fields[i].typ, depth+1)
		k.params = append(k.params, p)
		names = append(names, p.identity())
	}
	if k.open {
		names = append(names, "...")
	}
	k.text = "function (" + strings.Join(names, ", ") + ")"
	if !k.to.is(ofVoid) {
		k.text += " returning " + k.to.identity()
	}
	return t.oneKind(k)
}

// oneKind is the one of its text.
func (t *reader) oneKind(k kind) *kind {
	if len(k.text) > maxKindText {
		k.text = fmt.Sprintf("%s... (%x)", k.text[:maxKindText/2], sha256.Sum256([]byte(k.text)))
	}
	if old := t.texts[k.text]; old != nil {
		return old
	}
	one := &k
	t.texts[k.text] = one
	return one
}
