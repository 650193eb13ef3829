package diff

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// family are the functions whose names differ only by numbers that are given by
// place.
type family struct {
	base, fixed []*Func
	crowded     bool // there are several in an image: the names do not say which is which
}

// families are those of all names that either image has.
func families(base, fixed map[string][]*Func) map[string]*family {
	out := map[string]*family{}
	add := func(by map[string][]*Func, of func(*family) *[]*Func) {
		for _, name := range slices.Sorted(maps.Keys(by)) {
			key := names.Family(name)
			f := out[key]
			if f == nil {
				f = &family{}
				out[key] = f
			}
			all := of(f)
			f.crowded = f.crowded || len(*all) > 0
			*all = append(*all, by[name]...)
		}
	}
	add(base, func(f *family) *[]*Func { return &f.base })
	add(fixed, func(f *family) *[]*Func { return &f.fixed })
	return out
}

// pairFamilies pairs the functions of crowded families: a name is believed where the
// code agrees. What is left is like the functions of stripped images.
func (d *Diff) pairFamilies(all map[string]*family) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if f := all[key]; f.crowded && len(f.base) > 0 && len(f.fixed) > 0 {
			d.pairFamily(f)
		}
	}
}

func (d *Diff) pairFamily(f *family) {
	x, y := byHashOrder(f.base), byHashOrder(f.fixed)
	x, y = slices.Compact(x), slices.Compact(y)
	own, moved := 0, 0
	for i, k := 0, 0; i < len(x) && k < len(y); {
		if c := cmp.Compare(x[i].Hash, y[k].Hash); c != 0 {
			if c < 0 {
				i++
			} else {
				k++
			}
			continue
		}
		ni, nk := run(x[i:]), run(y[k:])
		a, b := x[i:i+ni], y[k:k+nk]
		i, k = i+ni, k+nk
		for _, p := range namesakes(a, b) {
			if d.agree(p[0], p[1]) && d.join(p[0], p[1], byName) {
				own++
			}
		}
		moved += d.pairAgreeing(d.freeBase(a), d.freeFixed(b))
	}
	d.pairLike(d.freeBase(x), d.freeFixed(y), own > 0 && moved == 0 && len(x) == len(y))
}

// pairAgreeing pairs functions with equal code that refer to the same things: of
// several that cannot be told apart, as many on either side, those of the same turn.
func (d *Diff) pairAgreeing(base, fixed []*Func) (n int) {
	if len(base)*len(fixed) > maxFamily {
		return 0
	}
	for _, q := range fixed {
		x := slices.DeleteFunc(d.freeBase(base), func(p *Func) bool { return !d.agree(p, q) })
		if len(x) == 0 || d.baseOf[q.Index] != nil {
			continue
		}
		y := slices.DeleteFunc(d.freeFixed(fixed), func(q *Func) bool { return !d.agree(x[0], q) })
		if len(x) != len(y) {
			continue
		}
		for i := range x { // what neither code nor names tell apart does the same
			if d.join(x[i], y[i], byHash) {
				n++
			}
		}
	}
	return n
}

// maxFamily is how many pairs of a family are looked at.
const maxFamily = 1 << 10

// namesakes are the pairs of one name.
func namesakes(base, fixed []*Func) (out [][2]*Func) {
	by := map[string]*Func{}
	for _, a := range base {
		for _, n := range a.Names {
			by[n] = a
		}
	}
	for _, b := range fixed {
		for _, n := range b.Names {
			if a := by[n]; a != nil {
				out = append(out, [2]*Func{a, b})
				break
			}
		}
	}
	return out
}

// pairLike pairs what else a family has by how similar it is: each the best of the
// other. Where all others have kept their numbers (intact), they and the number speak
// for a pair, too.
func (d *Diff) pairLike(base, fixed []*Func, intact bool) {
	if len(base) == 0 || len(fixed) == 0 || len(base)*len(fixed) > maxFamily {
		return
	}
	same := namesakes(base, fixed)
	best := func(n int, similarity func(int) float64) (int, bool) {
		at, most, second := -1, 0.0, 0.0
		for i := range n {
			switch s := similarity(i); {
			case s > most:
				at, most, second = i, s, most
			case s > second:
				second = s
			}
		}
		return at, most >= alike && most > second
	}
	for k, b := range fixed {
		i, ok := best(len(base), func(i int) float64 { return d.similarity(base[i], b) })
		if !ok || d.elsewhere(base[i], b) {
			continue
		}
		if back, ok := best(len(fixed), func(k int) float64 { return d.similarity(base[i], fixed[k]) }); !ok || back != k {
			continue
		}
		how := bySimilar
		if intact && slices.Contains(same, [2]*Func{base[i], b}) {
			how = byName
		}
		d.join(base[i], b, how)
	}
}

// agree says whether two functions with equal code refer to the same things, as far
// as names and the content of strings tell.
func (d *Diff) agree(a, b *Func) bool {
	if a.Hash != b.Hash || len(a.Refs) != len(b.Refs) || d.elsewhere(a, b) {
		return false
	}
	for k := range a.Refs {
		if !d.agreeRef(&a.Refs[k], &b.Refs[k], a, b) {
			return false
		}
	}
	return true
}

func (d *Diff) agreeRef(p, q *Ref, a, b *Func) bool {
	switch {
	case q.Class == image.Text:
		f, g := d.Base.At(p.Target), d.Fixed.At(q.Target)
		if f == nil || g == nil {
			return f == g
		}
		return p.Target-f.Lo == q.Target-g.Lo && (f == a && g == b || f != a && g != b && d.compatible(f, g))
	case q.Class == image.PLT:
		x, okA := d.Base.PLTName(p.Target)
		y, okB := d.Fixed.PLTName(q.Target)
		return okA == okB && (!okA || SameImport(x, y))
	case q.Class == image.GOT:
		return gotKey(d.Base, p.Target) == gotKey(d.Fixed, q.Target)
	case q.Class == image.ROData && q.Kind == Lea:
		if n := d.Fixed.CString(q.Target); n > 1 && d.Fixed.startsString(q.Target) {
			return bytes.Equal(d.Base.Bytes(p.Target, n), d.Fixed.Bytes(q.Target, n))
		}
	case q.Class == image.ROData && q.Width > 0 && q.Width <= 64 && !q.Indexed:
		return bytes.Equal(d.Base.Bytes(p.Target, int(q.Width)), d.Fixed.Bytes(q.Target, int(q.Width)))
	case q.Class.Writable():
		x, y := d.Base.SymbolsAt(p.Target), d.Fixed.SymbolsAt(q.Target)
		return len(x) == 0 || len(y) == 0 || slices.ContainsFunc(x, func(s image.Symbol) bool {
			return slices.ContainsFunc(y, func(t image.Symbol) bool { return names.Stem(s.Name) == names.Stem(t.Name) })
		})
	}
	return true
}
