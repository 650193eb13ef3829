package types

import (
	"cmp"
	"debug/dwarf"
	"slices"
	"sort"
)

// maxUses bounds what is remembered of parameters and local variables.
const maxUses = 1 << 22

// usedKind is what a parameter or local variable is, where that leads to a struct.
type usedKind struct {
	key  uint64 // of the names of function and variable
	kind *kind
	// position is that of a parameter, from 1.
	position int32
}

// local takes a parameter or local variable, unless it is known to lead nowhere.
func (t *reader) local(e *dwarf.Entry, name string, typ ref, f *frame) {
	u := localUse{typ: typ, name: name}
	if e.Tag == dwarf.TagFormalParameter && f == &t.stack[len(t.stack)-1] {
		f.params++
		u.position = f.params
	}
	if name == "" || name == "this" {
		return
	}
	if n := t.nodes[typ]; n != nil && (n.tag == dwarf.TagBaseType || n.tag == dwarf.TagEnumerationType) {
		return
	}
	if f.names == nil {
		f.names = &function{f.name, f.of}
	}
	u.function = f.names
	t.open.locals = append(t.open.locals, u)
}

// useOf remembers what a variable of a function is: it may be all that tells that a
// type has another name now, behind a pointer to void.
func (t *reader) useOf(u *localUse) {
	if len(t.unit.uses) >= maxUses {
		return
	}
	k := t.kindOf(u.typ)
	if structOf(k) == nil {
		return
	}
	function := t.functionName(u.function.name, u.function.of)
	t.unit.uses = append(t.unit.uses, usedKind{useKey(function, u.name), k, 0})
	if u.position > 0 && u.position <= maxParams {
		t.unit.uses = append(t.unit.uses, usedKind{useKey(function, ""), k, int32(u.position)})
	}
}

// useKey is that of a variable, or with no name that of the parameters.
func useKey(function, name string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for i := range len(function) {
		h = (h ^ uint64(function[i])) * prime
	}
	h *= prime
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	return h
}

// parameters are what the function of that name takes that leads to a struct.
func (u *Unit) parameters(function string) []usedKind {
	key := useKey(function, "")
	lo := sort.Search(len(u.uses), func(i int) bool { return u.uses[i].key >= key })
	hi := lo
	for hi < len(u.uses) && u.uses[hi].key == key {
		hi++
	}
	return u.uses[lo:hi]
}

// structOf is the struct that k is, consists of or leads to.
func structOf(k *kind) *kind {
	for range maxKindDepth {
		switch {
		case k.is(ofStruct):
			return k
		case k.is(ofPointer), k.is(ofArray):
			k = k.to
		default:
			return nil
		}
	}
	return nil
}

func sortUses(us []usedKind) {
	slices.SortStableFunc(us, func(a, b usedKind) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.position, b.position)) })
}

// origin is the entry that has the name of the function e, 0 when none is referred to
// in the same file.
func (t *reader) origin(e *dwarf.Entry) ref {
	for _, a := range []dwarf.Attr{dwarf.AttrSpecification, dwarf.AttrAbstractOrigin} {
		if v, ok := e.Val(a).(dwarf.Offset); ok {
			return t.here(v)
		}
	}
	return 0
}

// functionName is name, or that of the entry at off.
func (t *reader) functionName(name string, off ref) string {
	if name != "" || off == 0 {
		return name
	}
	if name, ok := t.funcs[off]; ok {
		return name
	}
	if t.funcs == nil {
		t.funcs = map[ref]string{}
	}
	data := t.data.Data
	switch {
	case off&inShared != 0:
		data = t.data.Shared
	case off&inTypes != 0:
		data = t.data.Types
	}
	at := off
	for range maxTypeDepth {
		if data == nil {
			break
		}
		r := data.Reader()
		r.Seek(dwarf.Offset(at &^ (inShared | inTypes)))
		e, err := r.Next()
		if err != nil || e == nil {
			break
		}
		if name, _ = e.Val(dwarf.AttrName).(string); name != "" {
			break
		}
		v, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset)
		if !ok {
			if v, ok = e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); !ok {
				break
			}
		}
		at = off&(inShared|inTypes) | ref(v)
	}
	t.funcs[off] = name
	return name
}
