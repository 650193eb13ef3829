package types

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxRenamed bounds how deep structs of different names are compared: those that
	// members point to.
	maxRenamed = 64
	// mostMatched bounds the members of structs that are compared one by one under
	// different names, and enumerators of enumerations.
	mostMatched = 1 << 12
	// mostOfName bounds the types of one name, of different files, that are.
	mostOfName = 128
)

// readStruct compares structs and unions. Those of one name are compared for
// themselves. Those without a name are what their layout is, and one of another name
// may be the same by its new one.
func (c *Comparison) readStruct(a, b *kind, depth int) reading {
	if a == b || a.text == b.text || a.def == b.def && a.def != "" {
		return unchanged
	}
	key := structPair{a, b, depth == 0}
	if r, ok := c.structs[key]; ok {
		return r.reading
	}
	if c.structs == nil {
		c.structs = map[structPair]structReading{}
	}
	c.structs[key] = structReading{} // of members that lead back here
	if c.deep >= maxRenamed {
		return retyped
	}
	c.deep++
	c.structs[key] = c.readNames(a, b, depth == 0)
	c.deep--
	return c.structs[key].reading
}

// structPair are two structs that are compared, and whether by value.
type structPair struct {
	a, b  *kind
	value bool
}

// structReading is what comparing them gave.
type structReading struct {
	reading
	why string // of members that are elsewhere
}

// layoutsOf are the definitions of a struct.
func (k *kind) layoutsOf(s *table) []*definition {
	if k.anon != nil {
		return []*definition{k.anon}
	}
	return s.defs[k.def]
}

// few are as many of the types of one name as are compared.
func few(defs []*definition) []*definition { return defs[:min(len(defs), mostOfName)] }

func (c *Comparison) readNames(a, b *kind, value bool) structReading {
	var worst structReading
	xs, ys := few(a.layoutsOf(c.pair.base)), few(b.layoutsOf(c.pair.fixed))
	for _, x := range xs {
		for _, y := range ys {
			l, differs := Difference{Detail: "it has too many members to compare them"}, true
			if max(len(x.members), len(y.members)) <= mostMatched || x.key == y.key {
				l, differs = c.compareMembers(x, y)
			}
			switch {
			case !differs && c.another(a, b):
				return structReading{reading: retyped}
			case !differs:
				return structReading{}
			case !l.Padding && (value || c.renamed(a, b) || moved(x, y)):
				worst = structReading{misread, l.Detail}
			default:
				worst.reading = max(worst.reading, retyped)
			}
		}
	}
	if a.def != "" && b.def != "" {
		worst.reading = max(worst.reading, retyped)
	}
	return worst
}

// another says that b is no new name of a, however alike they are: seconds may have
// become milliseconds. Either both images know both, or they are two instances of one
// template, which its arguments tell apart.
func (c *Comparison) another(a, b *kind) bool {
	if a.def == "" || b.def == "" {
		return false
	}
	return sameTemplate(a.def, b.def) || !c.renamed(a, b)
}

// sameTemplate says that two names are of instances of one template.
func sameTemplate(a, b string) bool {
	x, _, isX := strings.Cut(a, "<")
	y, _, isY := strings.Cut(b, "<")
	return isX && isY && x == y && a != b
}

// readEnumeration compares two enumerations of one size, or numbers. What one is by a
// new name is compared where enumerations are, as far as its enumerators tell.
func (c *Comparison) readEnumeration(a, b *kind) reading {
	if a.def == "" || b.def == "" || a.def == b.def {
		return unchanged
	}
	if c.another(a, b) {
		return retyped
	}
	for _, x := range few(c.pair.base.defs[a.def]) {
		for _, y := range few(c.pair.fixed.defs[b.def]) {
			if max(len(x.members), len(y.members)) > mostMatched {
				continue
			}
			if detail, _ := enumDiffers(x, y); detail == "" || !x.scoped && !y.scoped && x.shares(y) {
				return unchanged
			}
		}
	}
	return retyped
}

// shares says that an enumerator has its name in both.
func (d *definition) shares(o *definition) bool {
	return slices.ContainsFunc(d.members, func(m member) bool { return o.find(m.name) != nil })
}

// renamed says that b can be nothing but a by another name: nothing has the name of
// a any more, and nothing had that of b. So it is where they have none.
func (c *Comparison) renamed(a, b *kind) bool {
	return (a.def == "" || len(c.pair.fixed.defs[a.def]) == 0) && (b.def == "" || len(c.pair.base.defs[b.def]) == 0)
}

// moved says that both have a member of one name, and that it is elsewhere.
func moved(x, y *definition) bool {
	if max(len(x.members), len(y.members)) > mostMatched {
		return true
	}
	for i := range x.members {
		m := &x.members[i]
		n := y.find(m.name)
		if m.name != "" && n != nil && (n.at != m.at || n.size != m.size || n.bit != m.bit || n.len != m.len) {
			return true
		}
	}
	return false
}

// structDiffers tells which member is elsewhere in what a and b are, lead to or
// consist of; "" when that is not what differs.
func (c *Comparison) structDiffers(a, b *kind) string {
	leads := false
	for depth := 0; a != nil && b != nil && depth < maxKindDepth; depth++ {
		switch {
		case a.is(ofStruct) && b.is(ofStruct):
			why := c.structs[structPair{a, b, true}].why
			if why == "" {
				why = c.structs[structPair{a, b, false}].why
			}
			is := "is"
			switch {
			case why == "":
				return ""
			case leads:
				is = "points to"
			}
			if a.def == "" && b.def == "" {
				return fmt.Sprintf("%s a struct without a name of another layout: %s", is, why)
			}
			return fmt.Sprintf("%s %s instead of %s: %s", is, b, a, why)
		case a.is(ofArray) && !b.is(ofArray):
			a = a.to
		case b.is(ofArray) && !a.is(ofArray):
			b = b.to
		case a.class == b.class && (a.is(ofPointer) || a.is(ofArray)):
			leads = leads || a.is(ofPointer)
			a, b = a.to, b.to
		default:
			return ""
		}
	}
	return ""
}
