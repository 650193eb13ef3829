package types

import (
	"slices"
	"strings"
)

// Difference is one type, variable or parameter whose bits the code of the two
// images reads in different ways.
type Difference struct {
	Type   string // what it is: "struct connectdata", "variable count"
	Detail string // what differs, naming the member: "has 24 bytes instead of 16"
	// Padding: nothing that existed moved; new members fill what was padding,
	// or a member has another name or kind at its old place.
	Padding bool
	// Enum: an enumerator has another value, in a type that no member, no
	// variable outside of functions and no array has.
	Enum bool
	// Local: Enum, and parameters or local variables have the type. So the
	// program tells its values from other numbers, and keeps none. Or the enumerator
	// is the last one, and may do no more than count the others, or is gone, and may
	// have another name. Or a constant has another value, and another one has its own.
	Local bool
	// Was and Is are the sizes of a struct that has another, in bytes; 0 of others.
	Was, Is int64
}

// Compare compares the types that the given units name, nil: all units of both
// images: size, members, offsets, bit fields, virtual functions, enumerators. A unit
// is compared with its counterpart also where that is not among the given ones.
// What is found is sorted by type, each once.
//
// Types of one name are compared within the compilation unit of one name:
// static types of two files may share theirs.
func (p *Pair) Compare(units map[*Unit]bool) []Difference {
	pairs := p.Counterparts()
	c := Comparison{pair: p, seen: map[[2]string]bool{}, names: [2]map[string]bool{{}, {}}, units: pairs}
	for _, side := range []*table{p.fixed, p.base} {
		for _, u := range side.units {
			if units != nil && !units[u] {
				continue
			}
			v := pairs[u]
			if side == p.base {
				c.unit(u, v, u)
			} else {
				c.unit(v, u, u)
				c.uses(v, u)
				c.constants(v, u)
			}
		}
	}
	c.renamedTypes()
	slices.SortFunc(c.out, func(a, b Difference) int {
		return strings.Compare(a.Type+"\x00"+a.Detail, b.Type+"\x00"+b.Detail)
	})
	return slices.Compact(c.out)
}

// Comparison compares types of two images, and remembers what it has found of those
// that others lead to.
type Comparison struct {
	pair    *Pair
	out     []Difference
	seen    map[[2]string]bool // type and both keys
	structs map[structPair]structReading
	kinds   map[kindPair]reading
	tries   int
	deep    int                // in how many structs of other names
	names   [2]map[string]bool // of all types of the units, base and fixed
	units   map[*Unit]*Unit    // pairs of them
}

// unit compares the types that u names; base and fixed are u and its
// counterpart, which may be nil.
func (c *Comparison) unit(base, fixed, u *Unit) {
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
		x, inX := definitions(c.pair.base, base, n)
		y, inY := definitions(c.pair.fixed, fixed, n)
		c.pairs(n, x, y, inX && inY)
	}
}

// definitions are what name means in a unit; where that does not define it,
// what any unit of the image means by it, and own is false.
func definitions(s *table, u *Unit, name string) (defs []*definition, own bool) {
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
func (c *Comparison) pairs(name string, x, y []*definition, own bool) {
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
