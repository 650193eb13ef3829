package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/image"
)

// claim is one piece of evidence that two functions are a pair.
type claim struct {
	base, fixed int // indices
	soft        bool
}

// settle makes pairs of the claims that nothing contradicts.
func (d *Diff) settle(claims []claim, how, soft link) int {
	claims = slices.DeleteFunc(claims, func(c claim) bool {
		return d.fixedOf[c.base] != nil || d.baseOf[c.fixed] != nil
	})
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.fixed, b.fixed), cmp.Compare(a.base, b.base))
	})
	// One candidate on either side, however often it is named.
	var once []claim
	for i := 0; i < len(claims); {
		c := claims[i]
		j, same := i+1, true
		for ; j < len(claims) && claims[j].fixed == c.fixed; j++ {
			same = same && claims[j].base == c.base
			c.soft = c.soft && claims[j].soft
		}
		if same {
			once = append(once, c)
		}
		i = j
	}
	users := map[int]int{}
	for i, c := range claims {
		if i == 0 || claims[i-1] != c && (claims[i-1].fixed != c.fixed || claims[i-1].base != c.base) {
			users[c.base]++
		}
	}
	n := 0
	for _, c := range once {
		l := how
		if c.soft {
			l = soft
		}
		if users[c.base] == 1 && d.join(d.Base.Funcs[c.base], d.Fixed.Funcs[c.fixed], l) {
			n++
		}
	}
	return n
}

// pairReferences follows the references of pairs with equal code until they
// lead to nothing unpaired.
func (d *Diff) pairReferences() int {
	total := 0
	for {
		n := d.settle(d.referenceClaims(), byRef, bySoftRef)
		total += n
		if n == 0 {
			return total
		}
	}
}

// referenceClaims are what pairs with equal code say of the functions that
// they refer to, pairs that agree already left out.
func (d *Diff) referenceClaims() []claim {
	var claims []claim
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		if a == nil || a.Hash != b.Hash || len(a.Refs) != len(b.Refs) {
			continue
		}
		for k := range a.Refs {
			if a.Refs[k].Class != image.Text {
				continue
			}
			x, y := d.Base.Entry(a.Refs[k].Target), d.Fixed.Entry(b.Refs[k].Target)
			if x == nil || y == nil || d.how[y.Index].firm() && d.baseOf[y.Index] == x {
				continue
			}
			claims = append(claims, claim{x.Index, y.Index, !d.how[i].firm()})
		}
	}
	return claims
}

// pairSlots pairs functions that stand at corresponding places of tables of
// pointers: handlers that no code names are found only here.
func (d *Diff) pairSlots() int {
	return d.settle(d.slotClaims(), byTableRef, byTableRef)
}

// slotClaims are what slots of tables say of functions that nothing firm is known
// of.
func (d *Diff) slotClaims() []claim {
	return d.tableClaims(func(y *Func) bool { return !d.how[y.Index].firm() })
}

// tableClaims are what slots of tables say of the functions in them that are
// asked for.
func (d *Diff) tableClaims(of func(*Func) bool) []claim {
	var claims []claim
	for i := range d.Fixed.Relocs {
		q := &d.Fixed.Relocs[i]
		t, ok := Pointee(q)
		if !ok || d.Fixed.ClassAt(t) != image.Text {
			continue
		}
		y := d.Fixed.Entry(t)
		if y == nil || !of(y) {
			continue
		}
		at, ok := d.slotOf(q.At)
		if !ok {
			continue
		}
		p := d.Base.RelocAt(at)
		if p == nil || p.Type != q.Type {
			continue
		}
		if s, ok := Pointee(p); ok {
			if x := d.Base.Entry(s); x != nil {
				claims = append(claims, claim{x.Index, y.Index, false})
			}
		}
	}
	return claims
}

// Split is a base function that stands in several slots of tables whose slots
// hold different functions in the fixed image. Only one can replace it.
type Split struct {
	Base   *Func
	Fixed  *Func   // the most similar, its counterpart
	Others []*Func // also by address
}

// pairSplit pairs such functions, when nothing else pairs any more.
func (d *Diff) pairSplit() bool {
	claims := slices.DeleteFunc(d.slotClaims(), func(c claim) bool {
		return d.fixedOf[c.base] != nil || d.baseOf[c.fixed] != nil
	})
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.fixed, b.fixed))
	})
	claims = slices.Compact(claims)
	found := false
	for i := 0; i < len(claims); {
		j := i
		for j < len(claims) && claims[j].base == claims[i].base {
			j++
		}
		if j-i > 1 {
			found = d.split(d.Base.Funcs[claims[i].base], claims[i:j]) || found
		}
		i = j
	}
	return found
}

func (d *Diff) split(a *Func, claims []claim) bool {
	var best *Func
	var most float64
	for _, c := range claims {
		b := d.Fixed.Funcs[c.fixed]
		if s := d.similarity(a, b); best == nil || s > most {
			best, most = b, s
		}
	}
	if !d.join(a, best, byTableRef) {
		return false
	}
	s := Split{Base: a, Fixed: best}
	for _, c := range claims {
		if b := d.Fixed.Funcs[c.fixed]; b != best {
			s.Others = append(s.Others, b)
		}
	}
	d.splits = append(d.splits, s)
	return true
}

// pairAligned pairs what corresponding instructions of changed pairs call.
func (d *Diff) pairAligned() int {
	claims := d.alignedClaims(d.callsUnpaired)
	claims = slices.DeleteFunc(claims, func(c claim) bool {
		a, b := d.Base.Funcs[c.base], d.Fixed.Funcs[c.fixed]
		// The new code may call something else at this place.
		return d.fixedOf[c.base] != nil || d.baseOf[c.fixed] != nil || a.Hash != b.Hash && d.similarity(a, b) < alike
	})
	return d.settle(claims, byAligned, byAligned)
}

// alike is the least similarity of functions that an aligned reference pairs.
const alike = 0.4

// alignedClaims are what the aligned instructions of changed pairs say of other
// functions.
func (d *Diff) alignedClaims(of func(*Func) bool) []claim {
	var claims []claim
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		if a == nil || a.Hash == b.Hash || !a.described() || !of(b) {
			continue
		}
		told := d.factPairs(a, b)
		for _, r := range d.alignedRefs(a, b) {
			if r.class != image.Text {
				continue
			}
			x, y := d.Base.Entry(r.base), d.Fixed.Entry(r.fixed)
			if x != nil && y != nil && !contradicts(told, x.Index, y.Index) {
				claims = append(claims, claim{x.Index, y.Index, !d.how[i].firm()})
			}
		}
	}
	return claims
}

// dissolve takes apart the pairs by order that more evidence speaks against
// than for, and never makes them again.
func (d *Diff) dissolve() int {
	claims := d.referenceClaims()
	for _, c := range d.slotClaims() {
		claims = append(claims, c, c) // a table slot names its function for good
	}
	for _, c := range d.factClaims() {
		claims = append(claims, c, c)
	}
	claims = append(claims, d.alignedClaims(func(b *Func) bool { return d.how[b.Index].firm() })...)
	votes := make([]int, len(d.Fixed.Funcs)) // for minus against
	for _, c := range claims {
		if c.soft {
			continue
		}
		a, b := d.Base.Funcs[c.base], d.Fixed.Funcs[c.fixed]
		if d.baseOf[b.Index] == a {
			votes[b.Index]++
			continue
		}
		votes[b.Index]--
		if other := d.fixedOf[a.Index]; other != nil {
			votes[other.Index]--
		}
	}
	n := 0
	for i, v := range votes {
		a := d.baseOf[i]
		if a == nil || v >= 0 || d.how[i].firm() {
			continue
		}
		d.banned[anchor{a.Index, i}] = true
		d.fixedOf[a.Index], d.baseOf[i], d.how[i] = nil, nil, unpaired
		n++
	}
	return n
}

// contradicts says that one of the two belongs to another function, as told.
func contradicts(told []claim, base, fixed int) bool {
	return slices.ContainsFunc(told, func(c claim) bool { return (c.base == base) != (c.fixed == fixed) })
}

func (d *Diff) callsUnpaired(b *Func) bool {
	for k := range b.Refs {
		if b.Refs[k].Class != image.Text {
			continue
		}
		if g := d.Fixed.Entry(b.Refs[k].Target); g != nil && d.baseOf[g.Index] == nil {
			return true
		}
	}
	return false
}
