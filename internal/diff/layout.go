package diff

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"hotpatch/internal/image"
)

// Layout is one type whose layout differs between the images.
type Layout struct {
	Type   string // "struct connectdata"
	Detail string // what differs, naming the member
	// Padding: nothing that existed moved; new members fill what was padding,
	// or a member has another name or kind at its old place.
	Padding bool
	// Enum: an enumerator has another value, in a type that no member, no
	// variable outside of functions and no array has.
	Enum bool
	// Local: Enum, and parameters or local variables have the type. So the
	// program tells its values from other numbers, and keeps none. Or the enumerator
	// is the last one, and may do no more than count the others.
	Local bool
}

// Layouts compares all types that both images name: size, members, offsets,
// bit fields, virtual functions, enumerators. known is false when either image
// has no DWARF; then nothing was compared. An error with known set names a type
// that could not be read; all others were compared.
//
// Types of one name are compared within the compilation unit of one name:
// static types of two files may share theirs.
func Layouts(base, fixed *image.Image) (out []Layout, known bool, err error) {
	l, err := readLayouts(base, fixed)
	if l == nil {
		return nil, false, err
	}
	return l.compare(nil), true, err
}

// LayoutsFor is Layouts of the types that code in fixed functions can handle,
// as far as that is certain: those of the compilation units that hold the
// functions and their counterparts, or a variable that the functions refer to,
// directly or through tables. An error says that the types of a function are not
// known. gcc describes in a unit each type that its code
// handles, also one that only a cast mentions, and so one behind a void
// pointer. Where that is not known of every unit concerned, or one of the
// functions is in none, all types are compared. So they are when nothing tells
// which unit a variable is of.
//
// What no such unit names is handled only by code that is equal in both
// images, and that code makes and uses its objects as it always did.
//
// The variables that the functions are bound to are compared by themselves: they
// need not have a type with a name.
func (d *Diff) LayoutsFor(functions []*Func, bound ...Value) (out []Layout, known bool, err error) {
	l, err := readLayouts(d.Base.Image, d.Fixed.Image)
	if l == nil {
		return nil, false, err
	}
	if err == nil {
		err = l.described(d, functions)
	}
	out = append(l.compare(l.reached(d, functions)), l.variables(d, functions, bound)...)
	return append(out, l.callbacks(d, functions)...), true, err
}

// LayoutsOf is Layouts, and compares the variables that functions are bound to.
func (d *Diff) LayoutsOf(functions []*Func, bound ...Value) (out []Layout, known bool, err error) {
	l, err := readLayouts(d.Base.Image, d.Fixed.Image)
	if l == nil {
		return nil, false, err
	}
	out = append(l.compare(nil), l.variables(d, functions, bound)...)
	return append(out, l.callbacks(d, functions)...), true, err
}

// described is an error for the first function whose types are not known:
// assembler code, an object compiled without -g, a language whose compiler
// does not describe all of them.
func (l *layouts) described(d *Diff, functions []*Func) error {
	base, fixed := placeUnits(l.base), placeUnits(l.fixed)
	check := func(p *places, f *Func) error {
		units := p.holding(f.Lo)
		if len(units) == 0 {
			return fmt.Errorf("no types describe the code of %s", f.Name())
		}
		for _, u := range units {
			if u.partial != "" {
				return fmt.Errorf("the types in the code of %s may be incomplete: %s is %s", f.Name(), u.name, u.partial)
			}
		}
		return nil
	}
	for _, f := range functions {
		if err := check(fixed, f); err != nil {
			return err
		}
		if a := d.BaseOf(f); a != nil {
			if err := check(base, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// layouts are the types of both images.
type layouts struct{ base, fixed *typeSet }

// readLayouts is nil when either image has no DWARF. An error besides is that
// of a single type.
func readLayouts(base, fixed *image.Image) (*layouts, error) {
	x, err := typesOf(base)
	if err != nil || x == nil {
		return nil, err
	}
	y, err := typesOf(fixed)
	if err != nil || y == nil {
		return nil, err
	}
	for _, t := range []*typeSet{x, y} {
		if t.unread != "" {
			err = fmt.Errorf("read types: %s", t.unread)
		}
	}
	return &layouts{x, y}, err
}

// pairUnits gives every unit the one of the other image with its name. Names
// that repeat pair by order if there are as many on either side.
func (l *layouts) pairUnits() map[*unit]*unit {
	by := func(t *typeSet) map[string][]*unit {
		out := map[string][]*unit{}
		for _, u := range t.units {
			if u.name != "" { // those of dwz have none
				out[u.name] = append(out[u.name], u)
			}
		}
		return out
	}
	x, y := by(l.base), by(l.fixed)
	out := map[*unit]*unit{}
	for name, us := range y {
		if len(x[name]) != len(us) {
			continue
		}
		for i, u := range us {
			out[u], out[x[name][i]] = x[name][i], u
		}
	}
	l.pairRenamed(out)
	return out
}

// pairRenamed gives units that have another name the one with its last part, of
// sources that were built in another directory; or the only one that is left.
func (l *layouts) pairRenamed(pairs map[*unit]*unit) {
	left := func(t *typeSet) (out []*unit) {
		for _, u := range t.units {
			if !u.part && u.name != "" && pairs[u] == nil {
				out = append(out, u)
			}
		}
		return out
	}
	one := func(us []*unit) map[string]*unit {
		out := map[string]*unit{}
		for _, u := range us {
			name := path.Base(u.name)
			if _, twice := out[name]; twice {
				out[name] = nil
				continue
			}
			out[name] = u
		}
		return out
	}
	x := one(left(l.base))
	for name, u := range one(left(l.fixed)) {
		if v := x[name]; u != nil && v != nil {
			pairs[u], pairs[v] = v, u
		}
	}
	if a, b := left(l.base), left(l.fixed); len(a) == 1 && len(b) == 1 {
		pairs[a[0]], pairs[b[0]] = b[0], a[0]
	}
}

// compare compares the types of the given units of both images, nil: of all.
func (l *layouts) compare(units map[*unit]bool) []Layout {
	pairs := l.pairUnits()
	c := layoutComparison{l: l, seen: map[[2]string]bool{}, names: [2]map[string]bool{{}, {}}, units: pairs}
	for _, side := range []*typeSet{l.fixed, l.base} {
		for _, u := range side.units {
			if units != nil && !units[u] {
				continue
			}
			v := pairs[u]
			if side == l.base {
				c.unit(u, v, u)
			} else {
				c.unit(v, u, u)
				c.uses(v, u)
			}
		}
	}
	c.renamedTypes()
	slices.SortFunc(c.out, func(a, b Layout) int {
		return strings.Compare(a.Type+"\x00"+a.Detail, b.Type+"\x00"+b.Detail)
	})
	return slices.Compact(c.out)
}

type layoutComparison struct {
	l       *layouts
	out     []Layout
	seen    map[[2]string]bool // type and both keys
	structs map[structPair]structReading
	kinds   map[kindPair]reading
	tries   int
	deep    int                // in how many structs of other names
	names   [2]map[string]bool // of all types of the units, base and fixed
	units   map[*unit]*unit    // pairs of them
}

// unit compares the types that u names; base and fixed are u and its
// counterpart, which may be nil.
func (c *layoutComparison) unit(base, fixed, u *unit) {
	names := make([]string, 0, len(u.defs)+len(u.opaque))
	for n := range u.defs {
		names = append(names, n)
	}
	names = append(names, u.opaque...)
	slices.Sort(names)
	side := 0
	if u == fixed {
		side = 1
	}
	for _, n := range slices.Compact(names) {
		c.names[side][n] = true
		if base != nil && fixed != nil {
			if x, y := base.turns[n], fixed.turns[n]; len(x) == len(y) && len(x) > 0 {
				for i := range x {
					c.pairs(n, x[i:i+1], y[i:i+1], true)
				}
				continue
			}
		}
		x, inX := definitions(c.l.base, base, n)
		y, inY := definitions(c.l.fixed, fixed, n)
		c.pairs(n, x, y, inX && inY)
	}
}

// definitions are what name means in a unit; where that does not define it,
// what any unit of the image means by it, and own is false.
func definitions(s *typeSet, u *unit, name string) (defs []*definition, own bool) {
	if u != nil {
		if d := u.defs[name]; len(d) > 0 {
			return d, true
		}
	}
	return s.defs[name], false
}

// pairs compares definitions of one name. Where one side has several, each of
// them must be among those of the other. In one unit (own) they are types of
// different scopes; where one becomes two, it may be that one of two equal ones
// changed. All closures of one signature share a name, and come and go.
func (c *layoutComparison) pairs(name string, x, y []*definition, own bool) {
	if len(x) == 0 || len(y) == 0 {
		return
	}
	a, b := without(x, y), without(y, x)
	if len(a) == 0 && len(b) == 0 {
		return
	}
	if len(a) == 0 {
		a = x
	}
	if len(b) == 0 {
		b = y
	}
	several := len(x) > 1 && len(y) > 1 || own && strings.Contains(name, "<lambda")
	if several && (len(without(x, y)) == 0 || len(without(y, x)) == 0) {
		return // a file with a type of its own of that name came or went
	}
	for i := range max(len(a), len(b)) {
		p, q := a[min(i, len(a)-1)], b[min(i, len(b)-1)]
		key := [2]string{name + "\x00" + p.key, q.key}
		if c.seen[key] {
			continue
		}
		c.seen[key] = true
		l, differs := c.compareTypes(p, q)
		if !differs {
			continue
		}
		c.ofEnum(&l, p, q)
		c.out = append(c.out, l)
	}
}

// without are the definitions of a that b lacks.
func without(a, b []*definition) []*definition {
	var out []*definition
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y *definition) bool { return y.key == x.key }) {
			out = append(out, x)
		}
	}
	return out
}

// reached are the units of both images whose types the functions can handle;
// nil when that is not certain.
func (l *layouts) reached(d *Diff, functions []*Func) map[*unit]bool {
	out := map[*unit]bool{}
	base, fixed := placeUnits(l.base), placeUnits(l.fixed)
	add := func(us []*unit) bool {
		for _, u := range us {
			if !u.whole {
				return false
			}
			out[u] = true
		}
		return len(us) > 0
	}
	for _, f := range functions {
		if !add(fixed.holding(f.Lo)) {
			return nil
		}
		if a := d.BaseOf(f); a != nil && !add(base.holding(a.Lo)) {
			return nil
		}
	}
	vars, ok := fixed.variables(d, functions)
	for _, v := range vars {
		ok = ok && add(v.units)
	}
	if !ok {
		return nil
	}
	for u, v := range l.pairUnits() {
		if out[u] {
			out[v] = true
		}
	}
	return out
}

// places tells which units code and variables are of.
type places struct {
	ranges  []unitRange // by lo
	longest uint64
	vars    []variable // by address
}

type unitRange struct {
	lo, hi uint64
	unit   *unit
}

type variable struct {
	at    image.Addr
	size  image.Addr
	units []*unit
	name  string // of one that has any
	kind  *kind
}

func placeUnits(t *typeSet) *places {
	p := &places{}
	for _, u := range t.units {
		for _, r := range u.ranges {
			if r[0] < r[1] {
				p.ranges = append(p.ranges, unitRange{r[0], r[1], u})
				p.longest = max(p.longest, r[1]-r[0])
			}
		}
		for _, o := range u.objects {
			p.vars = append(p.vars, variable{o.at, o.size, []*unit{u}, o.name, o.kind})
		}
	}
	slices.SortStableFunc(p.ranges, func(a, b unitRange) int {
		return compareAddr(image.Addr(a.lo), image.Addr(b.lo))
	})
	slices.SortStableFunc(p.vars, func(a, b variable) int { return compareAddr(a.at, b.at) })
	merged := p.vars[:0]
	for _, v := range p.vars {
		if n := len(merged); n > 0 && merged[n-1].at == v.at {
			merged[n-1].units = append(merged[n-1].units, v.units...)
			merged[n-1].size = max(merged[n-1].size, v.size)
			if merged[n-1].kind == nil {
				merged[n-1].name, merged[n-1].kind = v.name, v.kind
			}
			continue
		}
		merged = append(merged, v)
	}
	p.vars = merged
	return p
}

// holding are the units with code at a: several where the linker dropped
// copies of a function, whose ranges then lie anywhere.
func (p *places) holding(a image.Addr) []*unit {
	var out []*unit
	k := sort.Search(len(p.ranges), func(i int) bool { return p.ranges[i].lo > uint64(a) })
	for i := k - 1; i >= 0 && uint64(a)-p.ranges[i].lo < p.longest; i-- {
		if uint64(a) < p.ranges[i].hi && !slices.Contains(out, p.ranges[i].unit) {
			out = append(out, p.ranges[i].unit)
		}
	}
	return out
}

// variables are those that the functions refer to, and those that these point
// to in turn. What no unit describes is a constant that the compiler made for
// the function that uses it; where a symbol says that it is not, ok is false.
func (p *places) variables(d *Diff, functions []*Func) (out []variable, ok bool) {
	c := d.Fixed
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
		v, described := p.variable(a)
		if !described {
			if o := d.data.objects.covering(a); o != nil && !compilerMade(o.name) && !copied(c, o.addr) {
				return nil, false
			}
			v = variable{at: a, size: c.End(a) - a}
		}
		if seen[v.at] {
			continue
		}
		seen[v.at] = true
		if described {
			out = append(out, v)
		}
		reachIn(v.at, v.at+v.size)
	}
	return out, true
}

// variable is the one that holds a.
func (p *places) variable(a image.Addr) (variable, bool) {
	k := sort.Search(len(p.vars), func(i int) bool { return p.vars[i].at > a }) - 1
	if k < 0 || a > p.vars[k].at && a >= p.vars[k].at+p.vars[k].size {
		return variable{}, false
	}
	return p.vars[k], true
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
