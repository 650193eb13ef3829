package types

import (
	"cmp"
	"fmt"
	"slices"
)

// What code is bound to, or is handed, need not be of a type with a name: whoever
// knows the code asks for its variables and parameters one by one.

// Comparison is one in which nothing has been compared yet.
func (p *Pair) Comparison() *Comparison { return &Comparison{pair: p} }

// Variables compares how the bits of two variables are read; differs is false where
// they are read alike, or one of them in a way that is not known. What is found has no
// Type where the variable has no name.
func (c *Comparison) Variables(base, fixed *Variable) (found Difference, differs bool) {
	r := c.read(base.kind, fixed.kind, 0)
	if r == unchanged {
		return Difference{}, false
	}
	found = Difference{Detail: c.differs(base.kind, fixed.kind), Padding: r != misread}
	if name := cmp.Or(fixed.Name, base.Name); name != "" {
		found.Type = "variable " + name
	}
	return found, true
}

// Misread says that reading the one variable as the other goes wrong for sure.
func (c *Comparison) Misread(base, fixed *Variable) bool {
	return c.read(base.kind, fixed.kind, 0) == misread
}

// Parameters compares the structs that the parameters of one function lead to: of that
// named was in the unit base, and that named is in the unit fixed. The Types of what is
// found are "parameter 1" and so on, in this order; all of it has Padding.
func (c *Comparison) Parameters(base, fixed *Unit, was, is string) (out []Difference) {
	x := base.parameters(was)
	for _, q := range fixed.parameters(is) {
		i := slices.IndexFunc(x, func(p usedKind) bool { return p.position == q.position })
		if i < 0 {
			continue
		}
		p, s := structOf(x[i].kind), structOf(q.kind)
		if p.text == s.text || p.def == s.def && p.def != "" || c.readStruct(p, s, 0) == unchanged {
			continue
		}
		out = append(out, Difference{
			Type:    fmt.Sprintf("parameter %d", q.position),
			Detail:  fmt.Sprintf("leads to %s instead of %s", s, p),
			Padding: true,
		})
	}
	return out
}
