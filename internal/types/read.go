package types

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// reader collects nodes in one walk over the entries.
type reader struct {
	data  *image.DWARF
	file  ref // inShared while the supplementary file is read
	set   *table
	nodes map[ref]*node
	// described are the types of variables that are elsewhere said to be somewhere.
	described     map[ref]ref
	open          pending // what the current unit brought
	later         []pending
	unit          *Unit
	stack         []frame
	known         map[string]*definition // by name and key
	total         int                    // members of all of them
	kinds         map[ref]*kind          // of the current unit, or of those that wait
	texts         map[string]*kind
	signs         map[uint64]ref // types of type units; 0: there are two
	inner         []inner
	funcs         map[ref]string // names of functions that others refer to
	deep          int            // how many unnamed structs the current one is in
	work          int            // members of all unnamed structs
	constants     int            // of all units
	sameConstants map[constant]*constant
}

// pending are the types of a unit that is not finished.
type pending struct {
	unit      *Unit
	order     []*node
	uses      []use
	locals    []localUse
	constants []constantUse
	declared  []ref // variables
	foreign   []ref // what it refers to in other units
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

// readTable walks all units. Offsets and sizes are believed, not added up
// unchecked: nothing is allocated by them.
func readTable(data *image.DWARF) (set *table, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/dwarf reads what it is given
			set, err = nil, fmt.Errorf("malformed debug information: %v", p)
		}
	}()
	t := &reader{
		data:          data,
		set:           &table{defs: map[string][]*definition{}, kept: map[string]bool{}, local: map[string]bool{}},
		nodes:         map[ref]*node{},
		described:     map[ref]ref{},
		known:         map[string]*definition{},
		signs:         map[uint64]ref{},
		kinds:         map[ref]*kind{},
		texts:         map[string]*kind{},
		sameConstants: map[constant]*constant{},
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
func (t *reader) walk(data *dwarf.Data) error {
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

func (t *reader) pop() {
	if n := len(t.stack); n > 0 {
		t.stack = t.stack[:n-1]
	}
}

// start opens the unit that e is the first entry of.
func (t *reader) start(data *dwarf.Data, e *dwarf.Entry) {
	u := &Unit{defs: map[string][]*definition{}, at: t.here(e.Offset)}
	u.ofType = e.Tag == dwarf.TagTypeUnit
	u.part = u.ofType || e.Tag == dwarf.TagPartialUnit
	u.Name = t.text(e, dwarf.AttrName)
	producer := t.text(e, dwarf.AttrProducer)
	u.Whole = e.Tag == dwarf.TagCompileUnit && strings.HasPrefix(producer, "GNU C") && !strings.Contains(producer, "-flto") && !t.mayHideTypes(producer)
	if strings.Contains(producer, "-femit-struct-debug") {
		u.Partial, u.Whole = "compiled so that types of headers are only named", false
	}
	if e.Tag == dwarf.TagCompileUnit && !strings.HasPrefix(producer, "GNU C") && !strings.Contains(producer, "clang version") && !strings.Contains(producer, "GNU GIMPLE") {
		u.Partial = fmt.Sprintf("made by %q", producer)
	}
	u.imports = strings.Contains(producer, "GNU GIMPLE") // of LTO: the types stay in the units that were compiled
	if r, err := data.Ranges(e); err == nil {
		u.ranges = r
	} else {
		u.Whole = false
	}
	t.unit = u
	t.set.units = append(t.set.units, u)
}

func (t *reader) cannot(format string, args ...any) {
	if t.set.unread == "" {
		t.set.unread = fmt.Sprintf(format, args...)
	}
}

// finish ends a unit. What a whole one defines by itself is taken at once, and
// its entries forgotten. Others (of LTO, or shared out by dwz) refer to each
// other: they wait for the end.
func (t *reader) finish() {
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
	if !u.Whole || len(u.foreign) > 0 {
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
