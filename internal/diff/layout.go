package diff

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
	"hotpatch/internal/types"
)

// LayoutsFor compares the types that code in fixed functions can handle, as
// far as that is certain: those of the compilation units that hold the
// functions and their counterparts, or a variable that the functions refer to,
// directly or through tables. known is false when either image has no DWARF;
// then nothing was compared. An error says that the types of a function are not
// known, or names a type that could not be read; with known set, all others were
// compared.
//
// gcc describes in a unit each type that its code handles, also one that only a
// cast mentions, and so one behind a void pointer; not one of which it asks no more
// than sizes and places (see aside). Where that is not known of every unit concerned,
// or one of the functions is in none, all types are compared. So they are when
// nothing tells which unit a variable is of.
//
// What no such unit names is handled only by code that is equal in both
// images, and that code makes and uses its objects as it always did.
//
// The variables that the functions are bound to are compared by themselves: they
// need not have a type with a name.
func (d *Diff) LayoutsFor(functions []*Func, bound ...Value) (out []types.Difference, known bool, err error) {
	l, err := d.readLayouts()
	if l == nil {
		return nil, false, err
	}
	if err == nil {
		err = l.described(functions)
	}
	reached := l.reached(functions)
	out = l.types.Compare(reached)
	if reached != nil {
		out = append(out, l.aside(functions, out)...)
	}
	out = append(out, l.variables(functions, bound)...)
	return append(out, l.callbacks(functions)...), true, err
}

// LayoutsOf is LayoutsFor, and compares all types that both images name.
func (d *Diff) LayoutsOf(functions []*Func, bound ...Value) (out []types.Difference, known bool, err error) {
	l, err := d.readLayouts()
	if l == nil {
		return nil, false, err
	}
	out = append(l.types.Compare(nil), l.variables(functions, bound)...)
	return append(out, l.callbacks(functions)...), true, err
}

// layouts are the types of both images, and which code and variables have them.
type layouts struct {
	d           *Diff
	types       *types.Pair
	base, fixed *types.Places
}

// readLayouts is nil when either image has no DWARF. An error besides is that
// of a single type.
func (d *Diff) readLayouts() (*layouts, error) {
	p, err := types.Read(d.Base.Image, d.Fixed.Image)
	if p == nil {
		return nil, err
	}
	base, fixed := p.Places()
	return &layouts{d, p, base, fixed}, err
}

// described is an error for the first function whose types are not known:
// assembler code, an object compiled without -g, a language whose compiler
// does not describe all of them.
func (l *layouts) described(functions []*Func) error {
	check := func(p *types.Places, f *Func) error {
		units := p.Holding(f.Lo)
		if len(units) == 0 {
			return fmt.Errorf("no types describe the code of %s", f.Name())
		}
		for _, u := range units {
			if u.Partial != "" {
				return fmt.Errorf("the types in the code of %s may be incomplete: %s is %s", f.Name(), u.Name, u.Partial)
			}
		}
		return nil
	}
	for _, f := range functions {
		if err := check(l.fixed, f); err != nil {
			return err
		}
		if a := l.d.BaseOf(f); a != nil {
			if err := check(l.base, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// reached are the units of both images whose types the functions can handle;
// nil when that is not certain.
func (l *layouts) reached(functions []*Func) map[*types.Unit]bool {
	out := map[*types.Unit]bool{}
	add := func(us []*types.Unit) bool {
		for _, u := range us {
			if !u.Whole {
				return false
			}
			out[u] = true
		}
		return len(us) > 0
	}
	for _, f := range functions {
		if !add(l.fixed.Holding(f.Lo)) {
			return nil
		}
		if a := l.d.BaseOf(f); a != nil && !add(l.base.Holding(a.Lo)) {
			return nil
		}
	}
	vars, ok := l.referred(functions)
	for _, v := range vars {
		ok = ok && add(v.Units)
	}
	if !ok {
		return nil
	}
	for u, v := range l.types.Counterparts() {
		if out[u] {
			out[v] = true
		}
	}
	return out
}

// referred are the variables that the functions refer to, and those that these point
// to in turn. What no unit describes is a constant that the compiler made for
// the function that uses it; where a symbol says that it is not, ok is false.
func (l *layouts) referred(functions []*Func) (out []types.Variable, ok bool) {
	c := l.d.Fixed
	seen := map[image.Addr]bool{}
	var work []image.Addr
	reach := func(a image.Addr) {
		switch c.ClassAt(a) {
		case image.ROData, image.RelRO, image.Data, image.BSS:
			work = append(work, a)
		}
	}
	reachIn := func(lo, hi image.Addr) {
		for _, r := range c.RelocsIn(lo, hi) {
			if t, ok := Pointee(&r); ok {
				reach(t)
			}
		}
	}
	for _, f := range functions {
		for k := range f.Refs {
			r := &f.Refs[k]
			reach(r.Target)
			if r.Class == image.GOT {
				reachIn(r.Target, r.Target+1)
			}
		}
	}
	for len(work) > 0 {
		a := work[len(work)-1]
		work = work[:len(work)-1]
		v, described := l.fixed.Variable(a)
		if !described {
			if o := l.d.data.objects.covering(a); o != nil && !compilerMade(o.name) && !copied(c, o.addr) {
				return nil, false
			}
			v = types.Variable{At: a, Size: c.End(a) - a}
		}
		if seen[v.At] {
			continue
		}
		seen[v.At] = true
		if described {
			out = append(out, v)
		}
		reachIn(v.At, v.At+v.Size)
	}
	return out, true
}

// copied: the loader copies the variable of another image there (stdout).
func copied(c *Code, a image.Addr) bool {
	r := c.RelocAt(a)
	return r != nil && r.Type == elf.R_X86_64_COPY
}

// compilerMade says whether a symbol names what no source does: constants and
// switch tables (CSWTCH.12), virtual tables, type information, guards.
func compilerMade(name string) bool {
	return strings.Contains(name, ".") || strings.HasPrefix(name, "_ZT") || strings.HasPrefix(name, "_ZG")
}

// VTables compares the sizes of the virtual tables that symbols name: calls
// through a table with slots inserted would go astray in live objects.
func (d *Diff) VTables() []types.Difference {
	sizes := map[string]uint64{}
	for _, s := range d.Base.Symbols {
		if s.Type == elf.STT_OBJECT && strings.HasPrefix(s.Name, "_ZTV") {
			sizes[s.Name] = s.Size
		}
	}
	var out []types.Difference
	for _, s := range d.Fixed.Symbols {
		if n, ok := sizes[s.Name]; ok && n != s.Size && s.Type == elf.STT_OBJECT {
			out = append(out, types.Difference{Type: "virtual table " + s.Name, Detail: fmt.Sprintf("has %d bytes instead of %d", s.Size, n)})
		}
	}
	slices.SortFunc(out, func(a, b types.Difference) int { return cmp.Compare(a.Type, b.Type) })
	return slices.Compact(out)
}
