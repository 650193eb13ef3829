// Package types reads what the debugging information (DWARF) of two images says of
// their types, variables and compilation units, and compares it: which bits that code
// of the one image left in memory code of the other would read as something else.
//
// Read gives the types of both. Pair.Compare compares those that have a name;
// Comparison compares what need not have one, variables and parameters, as it is
// asked. Places and Unit tell which units code and variables are of, and how
// completely these describe their types: which of all the types count, and what a
// difference means, the caller says, who knows the code.
//
// Reading is in read.go (units), entries.go (entries), define.go (layouts), kinds.go
// and base.go (how bits are read), uses.go (parameters and local variables), shared.go
// and signed.go (what is described elsewhere); comparing in compare.go (units),
// members.go, index.go, virtuals.go, readings.go and structs.go (bits), enumerators.go
// and constants.go (numbers with names), renamed.go (types under other names).
package types

import (
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// definition is one type, as far as its layout goes.
type definition struct {
	name     string // with "struct ", "enum ", ...
	size     int64
	members  []member
	virtuals *virtualTable // of a class; nil: it declares no virtual functions
	align    int64         // what the source asks for, 0: nothing
	scoped   bool          // of an enumeration: its enumerators are in a scope of their own
	key      string        // equal keys: equal layouts
	index    *index        // of many members, once one is looked for
}

// member of a struct (dotted when it is in an anonymous one), or enumerator.
type member struct {
	name     string
	at, size int64 // bytes; an enumerator's value is at
	bit, len int64 // bit field: offset from the start of the type, and width
	kind     *kind
}

// Unit is a compilation unit: what one run of the compiler knew.
type Unit struct {
	// Name is that of the source file as the compiler was given it; "" where dwz
	// made the unit.
	Name string
	// Whole says that the unit names every type its code handles. gcc does so
	// for C and C++: also for types that only a cast mentions; not for those that
	// only sizeof, offsetof and their kin do.
	Whole bool
	// Partial says why code may handle types that the unit does not describe at
	// all (made by rustc, which describes those of variables only), "" for no reason.
	Partial string

	defs      map[string][]*definition // several of one name: in different scopes
	has       map[*definition]bool     // those of defs, of names with many
	turns     map[string][]*definition // those of functions, in their order; several where blocks have one each
	uses      []usedKind               // of parameters and local variables, by their keys
	opaque    []string                 // types it only declares, where it may use them all the same
	ranges    [][2]uint64
	objects   []placed // variables with an address
	threads   []placed // thread-local ones, by their place in the block
	constants []*constant
	imports   bool // it takes types from other compilation units (LTO)

	part     bool    // a partial unit (what dwz found in several units), or
	ofType   bool    // a type unit
	at, last ref     // its first and last entry
	foreign  []ref   // what it refers to in other units
	parts    []*Unit // partial ones that it takes types from
	types    int     // entries that are types
}

const withoutTypes = "compiled without types (-g1, or split)"

// add takes a definition.
func (u *Unit) add(name string, d *definition) {
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

// table are the types of one image.
type table struct {
	units []*Unit
	defs  map[string][]*definition
	// kept are enumerations that may live in memory: a member, a variable
	// outside of functions, an array or something pointed to has the type.
	kept map[string]bool
	// local are those that some parameter or local variable has.
	local map[string]bool
	// unread is the first type that could not be understood, "" for none.
	unread string
}

// tableOf reads all named types with a layout; nil without DWARF.
func tableOf(m *image.Image) (*table, error) {
	data, err := m.DWARF()
	if errors.Is(err, image.ErrNoDWARF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
	}
	set, err := readTable(data)
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", m.Path, err)
	}
	return set, nil
}
