package types

import "fmt"

// reading is what becomes of bits of one kind that are read as another one.
type reading uint8

const (
	unchanged reading = iota
	retyped           // something else may be meant: somebody has to look
	misread           // it goes wrong: a pointer for an object, a float for an integer
)

// read compares two kinds of types that have the same size, or that are pointed to.
func (c *Comparison) read(a, b *kind, depth int) reading {
	switch {
	case a == nil || b == nil || a == b || a.text == b.text || depth > maxKindDepth:
		return unchanged
	case a.class != b.class:
		if a.is(ofFloat) && (b.is(ofInteger) || b.is(ofPointer)) || b.is(ofFloat) && (a.is(ofInteger) || a.is(ofPointer)) {
			return misread
		}
		return retyped
	}
	// Functions may take functions that take functions, many of each.
	key := kindPair{a, b, depth}
	if r, ok := c.kinds[key]; ok {
		return r
	}
	if c.kinds == nil {
		c.kinds = map[kindPair]reading{}
	}
	c.kinds[key] = unchanged
	c.kinds[key] = c.readInside(a, b, depth)
	return c.kinds[key]
}

// kindPair are two kinds that are compared, and how deep in others.
type kindPair struct {
	a, b  *kind
	depth int
}

// readInside compares two kinds of one class.
func (c *Comparison) readInside(a, b *kind, depth int) reading {
	switch a.class {
	case ofInteger, ofFloat:
		r := a.form.readAs(b.form)
		switch {
		case r != unchanged:
			return r
		case depth > 0 && a.size != b.size: // of the whole others tell
			return retyped
		}
		return c.readEnumeration(a, b)
	case ofPointer:
		return c.readThrough(a.to, b.to, depth)
	case ofMemberPointer:
		return min(c.read(a.to, b.to, depth+1), retyped)
	case ofArray:
		worst := c.read(a.to, b.to, depth+1)
		if a.inner != b.inner && max(a.inner, b.inner) > 1 && min(a.inner, b.inner) > 0 {
			worst = max(worst, retyped)
		}
		return worst
	case ofStruct:
		return c.readStruct(a, b, depth)
	case ofFunction:
		return c.readFunction(a, b, depth)
	}
	return unchanged
}

// readThrough compares what two pointers lead to. void may be anything.
func (c *Comparison) readThrough(a, b *kind, depth int) reading {
	scalar := func(k *kind) bool { return k.is(ofInteger) || k.is(ofFloat) }
	switch {
	case a.is(ofVoid) || b.is(ofVoid) || a == nil || b == nil:
		return unchanged
	case a.is(ofPointer) != b.is(ofPointer), scalar(a) && b.is(ofStruct), a.is(ofStruct) && scalar(b):
		return misread
	case a.is(ofPointer):
		return c.readThrough(a.to, b.to, depth+1)
	case scalar(a) && scalar(b) && a.size == b.size && a.form.readAs(b.form) == misread:
		return misread
	case a.is(ofArray) && b.is(ofArray) && a.count != b.count && a.count > 0 && b.count > 0:
		return retyped
	case a.is(ofArray) != b.is(ofArray): // a pointer to the first element
		if a.is(ofArray) {
			a = a.to
		} else {
			b = b.to
		}
	}
	if a.is(ofStruct) && b.is(ofStruct) {
		return c.readStruct(a, b, depth+1)
	}
	return min(c.read(a, b, depth+1), retyped)
}

// readFunction compares how a function is called: through a pointer that is kept,
// new code calls what old code has put there.
func (c *Comparison) readFunction(a, b *kind, depth int) reading {
	worst := c.read(a.to, b.to, depth+1)
	if !a.open && !b.open && len(a.params) != len(b.params) {
		return retyped
	}
	for i := range min(len(a.params), len(b.params)) {
		worst = max(worst, c.read(a.params[i], b.params[i], depth+1))
	}
	return min(worst, retyped)
}

// differs tells how b is read in another way than a.
func (c *Comparison) differs(a, b *kind) string {
	if why := c.structDiffers(a, b); why != "" {
		return why
	}
	if !a.is(ofPointer) || !b.is(ofPointer) || !a.to.is(ofFunction) || !b.to.is(ofFunction) {
		return fmt.Sprintf("is %s instead of %s", b, a)
	}
	f, g := a.to, b.to
	if len(f.params) != len(g.params) {
		return fmt.Sprintf("points to functions with %d parameters instead of %d", len(g.params), len(f.params))
	}
	for i := range f.params {
		if c.read(f.params[i], g.params[i], 1) != unchanged {
			return fmt.Sprintf("points to functions whose parameter %d is %s instead of %s", i+1, g.params[i], f.params[i])
		}
	}
	return fmt.Sprintf("points to functions that return %s instead of %s", g.to, f.to)
}
