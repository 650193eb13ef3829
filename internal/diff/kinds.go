package diff

import (
	"crypto/sha256"
	"debug/dwarf"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// kind says how the bits of a type are read, as far as two types of one size can
// differ in that. It leaves out what changes no reading: signedness, qualifiers,
// names of typedefs, which integer of a size (char, enumerations). Kinds of one
// image with equal text are one; nil is one that is not known, and goes with any.
type kind struct {
	class  kindClass
	size   int64  // of integers and floats, in bytes
	name   string // of a struct or union, with its scopes; "" for an anonymous one
	def    string // the name of its definition
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

// layoutMark is what unnamed has in the text of a struct without a name.
var layoutMark = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`#[0-9a-f]+`) })

func (k *kind) is(c kindClass) bool { return k != nil && k.class == c }

// kindOf is the kind of the type at off.
func (t *typeReader) kindOf(off ref) *kind { return t.kind(off, 0) }

func (t *typeReader) kind(off ref, depth int) *kind {
	k, done := t.kinds[off]
	if done || depth > maxMadeDepth {
		return k
	}
	t.kinds[off] = nil // a damaged file may lead back here
	k = t.makeKind(off, depth)
	t.kinds[off] = k
	return k
}

func (t *typeReader) makeKind(off ref, depth int) *kind {
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
func (t *typeReader) kindOfNode(n *node, alias string, depth int) *kind {
	switch n.tag {
	case dwarf.TagBaseType, dwarf.TagEnumerationType:
		switch {
		case n.size < 0:
			return nil
		case n.form.float:
			return t.oneKind(kind{class: ofFloat, size: n.size, form: n.form, text: n.form.text(n.size, "float")})
		}
		return t.oneKind(kind{class: ofInteger, size: n.size, form: n.form, text: n.form.text(n.size, "integer")})
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

func (t *typeReader) functionKind(n *node, depth int) *kind {
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
func (t *typeReader) oneKind(k kind) *kind {
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

// reading is what becomes of bits of one kind that are read as another one.
type reading uint8

const (
	unchanged reading = iota
	retyped           // something else may be meant: somebody has to look
	misread           // it goes wrong: a pointer for an object, a float for an integer
)

// read compares two kinds of types that have the same size, or that are pointed to.
func (c *layoutComparison) read(a, b *kind, depth int) reading {
	switch {
	case a == nil || b == nil || a == b || a.text == b.text || depth > maxKindDepth:
		return unchanged
	case a.class != b.class:
		if a.is(ofFloat) && (b.is(ofInteger) || b.is(ofPointer)) || b.is(ofFloat) && (a.is(ofInteger) || a.is(ofPointer)) {
			return misread
		}
		return retyped
	}
	// Functions may take functions that take functions, many of each.
	key := kindPair{a, b, depth}
	if r, ok := c.kinds[key]; ok {
		return r
	}
	if c.kinds == nil {
		c.kinds = map[kindPair]reading{}
	}
	c.kinds[key] = unchanged
	c.kinds[key] = c.readInside(a, b, depth)
	return c.kinds[key]
}

// kindPair are two kinds that are compared, and how deep in others.
type kindPair struct {
	a, b  *kind
	depth int
}

// readInside compares two kinds of one class.
func (c *layoutComparison) readInside(a, b *kind, depth int) reading {
	switch a.class {
	case ofInteger, ofFloat:
		if r := a.form.readAs(b.form); r != unchanged || depth == 0 || a.size == b.size { // of the whole others tell
			return r
		}
		return retyped
	case ofPointer:
		return c.readThrough(a.to, b.to, depth)
	case ofMemberPointer:
		return min(c.read(a.to, b.to, depth+1), retyped)
	case ofArray:
		worst := c.read(a.to, b.to, depth+1)
		if a.inner != b.inner && max(a.inner, b.inner) > 1 && min(a.inner, b.inner) > 0 {
			worst = max(worst, retyped)
		}
		return worst
	case ofStruct:
		return c.readStruct(a, b, depth)
	case ofFunction:
		return c.readFunction(a, b, depth)
	}
	return unchanged
}

// readThrough compares what two pointers lead to. void may be anything.
func (c *layoutComparison) readThrough(a, b *kind, depth int) reading {
	scalar := func(k *kind) bool { return k.is(ofInteger) || k.is(ofFloat) }
	switch {
	case a.is(ofVoid) || b.is(ofVoid) || a == nil || b == nil:
		return unchanged
	case a.is(ofPointer) != b.is(ofPointer), scalar(a) && b.is(ofStruct), a.is(ofStruct) && scalar(b):
		return misread
	case a.is(ofPointer):
		return c.readThrough(a.to, b.to, depth+1)
	case scalar(a) && scalar(b) && a.size == b.size && a.form.readAs(b.form) == misread:
		return misread
	case a.is(ofArray) && b.is(ofArray) && a.count != b.count && a.count > 0 && b.count > 0:
		return retyped
	case a.is(ofArray) != b.is(ofArray): // a pointer to the first element
		if a.is(ofArray) {
			a = a.to
		} else {
			b = b.to
		}
	}
	if a.is(ofStruct) && b.is(ofStruct) {
		return c.readStruct(a, b, depth+1)
	}
	return min(c.read(a, b, depth+1), retyped)
}

// readFunction compares how a function is called: through a pointer that is kept,
// new code calls what old code has put there.
func (c *layoutComparison) readFunction(a, b *kind, depth int) reading {
	worst := c.read(a.to, b.to, depth+1)
	if !a.open && !b.open && len(a.params) != len(b.params) {
		return retyped
	}
	for i := range min(len(a.params), len(b.params)) {
		worst = max(worst, c.read(a.params[i], b.params[i], depth+1))
	}
	return min(worst, retyped)
}

// differs tells how b is read in another way than a.
func (c *layoutComparison) differs(a, b *kind) string {
	if why := c.structDiffers(a, b); why != "" {
		return why
	}
	if !a.is(ofPointer) || !b.is(ofPointer) || !a.to.is(ofFunction) || !b.to.is(ofFunction) {
		return fmt.Sprintf("is %s instead of %s", b, a)
	}
	f, g := a.to, b.to
	if len(f.params) != len(g.params) {
		return fmt.Sprintf("points to functions with %d parameters instead of %d", len(g.params), len(f.params))
	}
	for i := range f.params {
		if c.read(f.params[i], g.params[i], 1) != unchanged {
			return fmt.Sprintf("points to functions whose parameter %d is %s instead of %s", i+1, g.params[i], f.params[i])
		}
	}
	return fmt.Sprintf("points to functions that return %s instead of %s", g.to, f.to)
}
