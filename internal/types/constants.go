package types

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"
)

// A program may have its states as constants with names instead of an enumeration.
// Most constants are something else, limits above all: one with another value tells
// nothing by itself. Where another name took the value it had, they were renumbered.

// constant is a number with a name, outside of functions.
type constant struct {
	scope, name string
	value       int64
	kind        *kind
}

func (c *constant) full() string { return c.scope + c.name }

// constantUse is one whose type is not known yet.
type constantUse struct {
	constant
	typ ref
}

// maxConstants bounds how many all units have together.
const maxConstants = 1 << 24

// constant takes a variable or static member that the compiler knows the value of.
// Instances of templates are left out: their constants follow from their arguments.
func (t *reader) constant(e *dwarf.Entry, name string, typ ref) {
	value, ok := e.Val(dwarf.AttrConstValue).(int64)
	if !ok || name == "" || typ == 0 || t.inFunction() {
		return
	}
	scope := t.scope(false)
	if strings.Contains(scope, "<") || strings.Contains(name, "<") {
		return
	}
	t.open.constants = append(t.open.constants, constantUse{constant{scope: scope, name: name, value: value}, typ})
}

// constantOf remembers one that no code may change, if it is a number.
func (t *reader) constantOf(u *constantUse) {
	u.kind = t.kindOf(u.typ)
	if !u.kind.is(ofInteger) || u.kind.def != "" || u.kind.form.boolean || !t.unchanging(u.typ) {
		return
	}
	if t.constants++; t.constants > maxConstants {
		t.cannot("there are too many constants to be true")
		return
	}
	one := t.sameConstants[u.constant]
	if one == nil {
		one = &constant{u.scope, u.name, u.value, u.kind}
		t.sameConstants[u.constant] = one
	}
	t.unit.constants = append(t.unit.constants, one)
}

// shareConstants gives u those of p.
func (t *reader) shareConstants(u, p *Unit) {
	if t.constants += len(p.constants); t.constants > maxConstants {
		t.cannot("there are too many constants to be true")
		return
	}
	u.constants = append(u.constants, p.constants...)
}

// unchanging says that the type at off is const.
func (t *reader) unchanging(off ref) bool {
	for range maxTypeDepth {
		n := t.node(off)
		if n == nil {
			return false
		}
		switch n.tag {
		case dwarf.TagConstType:
			return true
		case dwarf.TagTypedef, dwarf.TagVolatileType:
			off = n.typ
		default:
			return false
		}
	}
	return false
}

// constants compares those of two units.
func (c *Comparison) constants(base, fixed *Unit) {
	if base == nil || fixed == nil || slices.EqualFunc(base.constants, fixed.constants, func(x, y *constant) bool {
		return x.value == y.value && x.name == y.name && x.scope == y.scope
	}) {
		return
	}
	was := make(map[string]*constant, len(base.constants))
	for _, x := range base.constants {
		was[x.full()] = x
	}
	type slot struct {
		scope, kind string
		value       int64
	}
	var changed []*constant
	took := map[slot]*constant{}
	for _, y := range fixed.constants {
		x := was[y.full()]
		if x != nil && x.value == y.value {
			continue
		}
		took[slot{y.scope, y.kind.identity(), y.value}] = y
		if x != nil {
			changed = append(changed, y)
		}
	}
	for _, y := range changed {
		x := was[y.full()]
		z := took[slot{x.scope, x.kind.identity(), x.value}]
		if z == nil {
			continue
		}
		c.out = append(c.out, Difference{
			Type:   "constant " + y.full(),
			Detail: fmt.Sprintf("is %d instead of %d, which %s is now", y.value, x.value, z.name),
			Enum:   true,
			Local:  true,
		})
	}
}
