package types

import (
	"fmt"
	"slices"
	"strings"
)

// Types that are known by another name than before, or by none: what has them tells
// which one is which, or what they consist of.

// uses compares what parameters and local variables of two units lead to, where that
// has no name or a new one.
func (c *Comparison) uses(base, fixed *Unit) {
	if base == nil || fixed == nil {
		return
	}
	x, y := base.uses, fixed.uses
	for len(x) > 0 && len(y) > 0 {
		switch {
		case x[0].key < y[0].key:
			x = x[1:]
			continue
		case x[0].key > y[0].key:
			y = y[1:]
			continue
		}
		n, m := sameUse(x), sameUse(y)
		for i := range n {
			// Blocks may have variables of one name, and as many as before.
			if n == m && x[i].position == 0 && y[i].position == 0 {
				c.use(x[i].kind, y[i].kind)
			}
		}
		x, y = x[n:], y[m:]
	}
}

// sameUse is how many at the start have one key.
func sameUse(us []usedKind) int {
	n := 1
	for n < len(us) && us[n].key == us[0].key {
		n++
	}
	return n
}

func (c *Comparison) use(x, y *kind) {
	if x == y || x.text == y.text {
		return
	}
	a, b := structOf(x), structOf(y)
	switch {
	case a.def != "" && a.def == b.def || a.text == b.text:
		return
	case !c.renamed(a, b):
		return // the variable is for something else now
	case strings.Contains(a.def, "<") && strings.Contains(b.def, "<"):
		return // another instance of a template
	case (a.def == "" || b.def == "") && !(x.is(ofPointer) && y.is(ofPointer)):
		return // on the stack alone
	}
	r := c.readStruct(a, b, 1)
	if r == unchanged {
		return
	}
	l := Difference{Type: b.String(), Detail: c.differs(a, b), Padding: r != misread}
	if a.def != "" && b.def != "" {
		c.sayRenamed(a.def, b.def)
	}
	c.out = append(c.out, l)
}

// sayRenamed leaves the comparison of two types to who has found it.
func (c *Comparison) sayRenamed(base, fixed string) {
	c.seen[[2]string{base + "\x00renamed", fixed}] = true
}

// renamedTypes compares the types that are gone with those that came and have what
// they had: a struct most of the members, an enumeration some enumerator.
func (c *Comparison) renamedTypes() {
	c.movedEnumerators()
	gone, came := c.only(0), c.only(1)
	if len(gone) == 0 || len(came) == 0 {
		return
	}
	with := map[string][]*definition{} // by member; enumerators have their scopes
	for _, n := range came {
		for _, d := range c.pair.fixed.defs[n] {
			for _, key := range d.matchKeys() {
				with[key] = append(with[key], d)
			}
		}
	}
	for _, n := range gone {
		for _, d := range c.pair.base.defs[n] {
			shared := map[*definition]int{}
			var order []*definition
			for _, key := range d.matchKeys() {
				if len(with[key]) > mostRenamed {
					continue // of all the instances of a template
				}
				for _, o := range with[key] {
					if shared[o]++; shared[o] == 1 {
						order = append(order, o)
					}
				}
			}
			for _, o := range order {
				c.maybeRenamed(d, o, shared[o])
			}
		}
	}
}

// unscoped says that n are enumerations whose enumerators are names of the file.
func (c *Comparison) unscoped(side int, n string) bool {
	if !strings.HasPrefix(n, "enum ") {
		return false
	}
	defs := c.pair.side(side).defs[n]
	return !slices.ContainsFunc(defs, func(d *definition) bool { return d.scoped })
}

func (p *Pair) side(i int) *table {
	if i == 0 {
		return p.base
	}
	return p.fixed
}

// changedEnums are the enumerations of one side, of the units that are compared, that
// the other image has not as they are.
func (c *Comparison) changedEnums(side int) (out []*definition) {
	other := c.pair.side(1 - side)
	for n := range c.names[side] {
		if c.unscoped(side, n) {
			out = append(out, without(c.pair.side(side).defs[n], other.defs[n])...)
		}
	}
	slices.SortFunc(out, func(a, b *definition) int { return strings.Compare(a.name+"\x00"+a.key, b.name+"\x00"+b.key) })
	return out
}

// movedEnumerators compares enumerators by their names, which are those of a file:
// the enumeration may have got a name, another first one, or may be another.
func (c *Comparison) movedEnumerators() {
	with := map[string][]*definition{}
	for _, d := range c.changedEnums(1) {
		for _, key := range d.matchKeys() {
			with[key] = append(with[key], d)
		}
	}
	if len(with) == 0 {
		return
	}
	for _, d := range c.changedEnums(0) {
		done := map[*definition]bool{}
		for _, key := range d.matchKeys() {
			for i, o := range with[key] {
				if i == mostRenamed || o.name == d.name || done[o] {
					continue
				}
				done[o] = true
				if !c.mayTry() {
					return
				}
				l, differs := c.compareTypes(d, o)
				if !c.gone(d) || !c.gone(o) { // some went to another enumeration
					l.Detail, l.Local = enumMoved(d, o)
					l.Enum, differs = l.Local, l.Detail != ""
				}
				if !differs || !c.inOneUnit(d, o) {
					continue
				}
				c.ofEnum(&l, d, o)
				l.Detail = fmt.Sprintf("was %s: %s", d.name, l.Detail)
				c.out = append(c.out, l)
			}
		}
	}
}

// gone says that one of the images has nothing of the name of d.
func (c *Comparison) gone(d *definition) bool {
	return len(c.pair.base.defs[d.name]) == 0 || len(c.pair.fixed.defs[d.name]) == 0
}

// mostTries bounds the pairs of types that are looked at because of what they share.
const mostTries = 1 << 15

// mayTry says whether another pair may be looked at, and once that it may not.
func (c *Comparison) mayTry() bool {
	if c.tries++; c.tries == mostTries {
		c.out = append(c.out, Difference{Type: "types", Detail: "too many that differ could be the same by another name"})
	}
	return c.tries < mostTries
}

// inOneUnit says that a unit has the one type and its counterpart the other.
func (c *Comparison) inOneUnit(d, o *definition) bool {
	for u, v := range c.units {
		if v != nil && slices.Contains(u.defs[d.name], d) && slices.Contains(v.defs[o.name], o) {
			return true
		}
	}
	return false
}

// mostRenamed is how many types that came may have one member for it to tell
// something.
const mostRenamed = 16

// only are the names of the types in the units of one side that the other image has
// nowhere.
func (c *Comparison) only(side int) []string {
	other := c.pair.fixed
	if side == 1 {
		other = c.pair.base
	}
	var out []string
	for n := range c.names[side] {
		// The instances of a template are not what one becomes of another.
		if len(other.defs[n]) == 0 && !strings.Contains(n, "<") && !c.unscoped(side, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// matchKeys are what a renamed type is found by.
func (d *definition) matchKeys() []string {
	if len(d.members) > mostMatched {
		return nil
	}
	scope := ""
	if rest, ok := strings.CutPrefix(d.name, "enum "); ok {
		rest = strings.TrimPrefix(rest, "of ")
		scope = "enum " + rest[:strings.LastIndex(rest, "::")+1]
	}
	var out []string
	for i := range d.members {
		if m := &d.members[i]; m.name != "" {
			out = append(out, scope+"\x00"+m.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// maybeRenamed compares two types that share that many members, if these are enough.
func (c *Comparison) maybeRenamed(d, o *definition, shared int) {
	isEnum := strings.HasPrefix(d.name, "enum ")
	if isEnum != strings.HasPrefix(o.name, "enum ") || c.seen[[2]string{d.name + "\x00renamed", o.name}] {
		return
	}
	if !c.mayTry() {
		return
	}
	n, m := len(d.matchKeys()), len(o.matchKeys())
	switch {
	case simpleName(d.name) == simpleName(o.name):
	case isEnum:
		if shared < min(n, m) || shared < 2 {
			return
		}
	case shared < min(n, m) || shared < 2 || 2*shared < max(n, m):
		return
	}
	l, differs := c.compareTypes(d, o)
	if !differs {
		return
	}
	c.ofEnum(&l, d, o)
	l.Detail = fmt.Sprintf("was %s: %s", d.name, l.Detail)
	c.out = append(c.out, l)
}

// simpleName leaves out what a type is: struct or class.
func simpleName(name string) string { return name[strings.LastIndexByte(name, ' ')+1:] }

// ofEnum says how far an enumeration is kept.
func (c *Comparison) ofEnum(l *Difference, a, b *definition) {
	if strings.HasPrefix(b.name, "enum ") {
		if l.Enum { // it is said already
			return
		}
		l.Enum = !c.pair.base.kept[a.name] && !c.pair.fixed.kept[b.name]
		l.Local = l.Enum && c.pair.base.local[a.name] && c.pair.fixed.local[b.name]
	}
}
