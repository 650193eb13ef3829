package diff

import (
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// definition is one type, as far as its layout goes.
type definition struct {
	name     string // with "struct ", "enum ", ...
	size     int64
	members  []member
	virtuals string // of a class: its virtual functions and their slots
	align    int64  // what the source asks for, 0: nothing
	scoped   bool   // of an enumeration: its enumerators are in a scope of their own
	key      string // equal keys: equal layouts
}

// member of a struct (dotted when it is in an anonymous one), or enumerator.
type member struct {
	name     string
	at, size int64 // bytes; an enumerator's value is at
	bit, len int64 // bit field: offset from the start of the type, and width
	kind     *kind
}

// unit is a compilation unit: what one run of the compiler knew.
type unit struct {
	name    string
	defs    map[string][]*definition // several of one name: in different scopes
	has     map[*definition]bool     // those of defs, of names with many
	turns   map[string][]*definition // those of functions, in their order; several where blocks have one each
	uses    []usedKind               // of parameters and local variables, by their keys
	opaque  []string                 // types it only declares, where it may use them all the same
	ranges  [][2]uint64
	objects []placed // variables with an address
	threads []placed // thread-local ones, by their place in the block
	// whole says that the unit names every type its code handles. gcc does so
	// for C and C++: also for types that only a cast or sizeof mentions.
	whole   bool
	imports bool // it takes types from other compilation units (LTO)
	// partial names the producer when code may handle types that the unit does
	// not describe at all: rustc describes those of variables only.
	partial string

	part     bool    // a partial unit (what dwz found in several units), or
	ofType   bool    // a type unit
	at, last ref     // its first and last entry
	foreign  []ref   // what it refers to in other units
	parts    []*unit // partial ones that it takes types from
	types    int     // entries that are types
}

const withoutTypes = "compiled without types (-g1, or split)"

// add takes a definition.
func (u *unit) add(name string, d *definition) {
	const few = 8 // nearly all names have one
	defs := u.defs[name]
	switch {
	case len(defs) < few:
		if slices.Contains(defs, d) {
			return
		}
	case u.has[d]:
		return
	}
	if len(defs) >= few-1 {
		if u.has == nil {
			u.has = map[*definition]bool{}
		}
		for _, x := range defs[:min(len(defs), few)] {
			u.has[x] = true
		}
		u.has[d] = true
	}
	u.defs[name] = append(defs, d)
}

// placed is a variable.
type placed struct {
	at   image.Addr
	size image.Addr
	typ  ref
	name string
	kind *kind
}

// typeSet are the types of one image.
type typeSet struct {
	units []*unit
	defs  map[string][]*definition
	// kept are enumerations that may live in memory: a member, a variable
	// outside of functions, an array or something pointed to has the type.
	kept map[string]bool
	// local are those that some parameter or local variable has.
	local map[string]bool
	// unread is the first type that could not be understood, "" for none.
	unread string
}

// typesOf reads all named types with a layout; nil without DWARF.
func typesOf(m *image.Image) (*typeSet, error) {
	data, err := m.DWARF()
	if errors.Is(err, image.ErrNoDWARF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
	}
	set, err := readTypes(data)
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
	}
	return set, nil
}

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
	virtual []string
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

// typeReader collects nodes in one walk over the entries.
type typeReader struct {
	data  *image.DWARF
	file  ref // inShared while the supplementary file is read
	set   *typeSet
	nodes map[ref]*node
	// described are the types of variables that are elsewhere said to be somewhere.
	described map[ref]ref
	open      pending // what the current unit brought
	later     []pending
	unit      *unit
	stack     []frame
	known     map[string]*definition // by name and key
	total     int                    // members of all of them
	kinds     map[ref]*kind          // of the current unit, or of those that wait
	texts     map[string]*kind
	signs     map[uint64]ref // types of type units; 0: there are two
	inner     []inner
	funcs     map[ref]string // names of functions that others refer to
	deep      int            // how many unnamed structs the current one is in
	work      int            // members of all unnamed structs
}

// pending are the types of a unit that is not finished.
type pending struct {
	unit     *unit
	order    []*node
	uses     []use
	locals   []localUse
	declared []ref // variables
	foreign  []ref // what it refers to in other units
}

// frame is an open entry.
type frame struct {
	tag  dwarf.Tag
	name string
	node *node
	full string // with its scopes, where the entry completes a declaration
	of   ref    // of a function: the entry that has its name, 0 for its own
	// params are how many parameters it has had until now.
	params int
	names  *function
}

// use says that something has a type: kept in memory, or local.
type use struct {
	typ  ref
	kept bool
}

// localUse is a parameter or local variable.
type localUse struct {
	typ      ref
	function *function
	name     string
	position int // of a parameter: from 1
}

// function is one by its name, or by the entry that has it.
type function struct {
	name string
	of   ref
}

// readTypes walks all units. Offsets and sizes are believed, not added up
// unchecked: nothing is allocated by them.
func readTypes(data *image.DWARF) (set *typeSet, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/dwarf reads what it is given
			set, err = nil, fmt.Errorf("malformed debug information: %v", p)
		}
	}()
	t := &typeReader{
		data:      data,
		set:       &typeSet{defs: map[string][]*definition{}, kept: map[string]bool{}, local: map[string]bool{}},
		nodes:     map[ref]*node{},
		described: map[ref]ref{},
		known:     map[string]*definition{},
		signs:     map[uint64]ref{},
		kinds:     map[ref]*kind{},
		texts:     map[string]*kind{},
	}
	t.signatures()
	if data.Shared != nil {
		t.file = inShared
		if err := t.walk(data.Shared); err != nil {
			return nil, fmt.Errorf("supplementary file: %w", err)
		}
		t.file = 0
	}
	if err := t.walk(data.Data); err != nil {
		return nil, err
	}
	if data.Types != nil {
		t.file = inTypes
		if err := t.walk(data.Types); err != nil {
			return nil, fmt.Errorf("type units: %w", err)
		}
		t.file = 0
	}
	t.connect()
	t.checkSignatures()
	for _, p := range t.later {
		t.define(p)
	}
	t.oneMeaning()
	t.withheld()
	t.share()
	if len(t.set.units) == 0 {
		return nil, nil
	}
	sortDefinitions(t.set.defs)
	for _, u := range t.set.units {
		sortDefinitions(u.defs)
		sortUses(u.uses)
	}
	return t.set, nil
}

func sortDefinitions(m map[string][]*definition) {
	for _, defs := range m {
		slices.SortFunc(defs, func(a, b *definition) int { return strings.Compare(a.key, b.key) })
	}
}

// walk reads all entries of one file.
func (t *typeReader) walk(data *dwarf.Data) error {
	const padding = 1 << 16
	ends := 0 // in a row, with nothing to end
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			return err
		}
		if e == nil {
			t.finish()
			t.unit, t.stack = nil, nil
			return nil
		}
		if e.Tag == 0 {
			// debug/dwarf gives us the end of a list for ever where a unit ends
			// within a number.
			if ends++; len(t.stack) > 0 {
				ends = 0
			}
			if ends > padding {
				return errors.New("malformed debug information: a unit ends within an entry")
			}
			t.pop()
			continue
		}
		ends = 0
		if len(t.stack) == 0 {
			t.finish()
			t.start(data, e)
		}
		t.unit.last = t.here(e.Offset)
		f := frame{tag: e.Tag, name: t.text(e, dwarf.AttrName)}
		t.entry(e, &f)
		if e.Children {
			t.stack = append(t.stack, f)
		}
	}
}

func (t *typeReader) pop() {
	if n := len(t.stack); n > 0 {
		t.stack = t.stack[:n-1]
	}
}

// start opens the unit that e is the first entry of.
func (t *typeReader) start(data *dwarf.Data, e *dwarf.Entry) {
	u := &unit{defs: map[string][]*definition{}, at: t.here(e.Offset)}
	u.ofType = e.Tag == dwarf.TagTypeUnit
	u.part = u.ofType || e.Tag == dwarf.TagPartialUnit
	u.name = t.text(e, dwarf.AttrName)
	producer := t.text(e, dwarf.AttrProducer)
	u.whole = e.Tag == dwarf.TagCompileUnit && strings.HasPrefix(producer, "GNU C") && !strings.Contains(producer, "-flto") && !t.mayHideTypes(producer)
	if strings.Contains(producer, "-femit-struct-debug") {
		u.partial, u.whole = "compiled so that types of headers are only named", false
	}
	if e.Tag == dwarf.TagCompileUnit && !strings.HasPrefix(producer, "GNU C") && !strings.Contains(producer, "clang version") && !strings.Contains(producer, "GNU GIMPLE") {
		u.partial = fmt.Sprintf("made by %q", producer)
	}
	u.imports = strings.Contains(producer, "GNU GIMPLE") // of LTO: the types stay in the units that were compiled
	if r, err := data.Ranges(e); err == nil {
		u.ranges = r
	} else {
		u.whole = false
	}
	t.unit = u
	t.set.units = append(t.set.units, u)
}

// entry takes what one entry says of types.
func (t *typeReader) entry(e *dwarf.Entry, f *frame) {
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
			parent.virtual = append(parent.virtual, fmt.Sprintf("%s@%x", name, slot))
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

func (t *typeReader) parent() *node {
	if n := len(t.stack); n > 0 {
		return t.stack[n-1].node
	}
	return nil
}

func (t *typeReader) inFunction() bool { return t.function() != nil }

// function is the innermost one that is open.
func (t *typeReader) function() *frame {
	for i := len(t.stack) - 1; i >= 0; i-- {
		if t.stack[i].tag == dwarf.TagSubprogram {
			return &t.stack[i]
		}
	}
	return nil
}

func (t *typeReader) typeNode(e *dwarf.Entry, f *frame, typ ref) *node {
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
func (t *typeReader) scope(functions bool) string {
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
func (t *typeReader) member(e *dwarf.Entry, name string, typ ref, parent *node) {
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

func (t *typeReader) cannot(format string, args ...any) {
	if t.set.unread == "" {
		t.set.unread = fmt.Sprintf(format, args...)
	}
}

// finish ends a unit. What a whole one defines by itself is taken at once, and
// its entries forgotten. Others (of LTO, or shared out by dwz) refer to each
// other: they wait for the end.
func (t *typeReader) finish() {
	if t.unit == nil {
		return
	}
	p, u := t.open, t.unit
	p.unit = u
	for _, r := range p.foreign {
		if r < u.at || r > u.last {
			u.foreign = append(u.foreign, r)
		}
	}
	slices.Sort(u.foreign)
	u.foreign = slices.Clip(slices.Compact(u.foreign))
	p.foreign, t.open = nil, pending{}
	u.types = len(p.order)
	if !u.whole || len(u.foreign) > 0 {
		t.later = append(t.later, p)
		return
	}
	kinds := t.kinds
	t.kinds = map[ref]*kind{}
	t.define(p)
	t.kinds = kinds
	for _, n := range p.order {
		delete(t.nodes, n.off)
	}
	for _, r := range p.declared {
		delete(t.described, r)
	}
}
