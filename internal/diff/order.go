package diff

import (
	"slices"
	"sort"

	"hotpatch/internal/image"
)

// Limits of the quadratic steps: cells of a table.
const (
	maxOrderCells = 1 << 20
	maxTokenCells = 40_000 // pairs of functions compared token by token per stretch
)

// anchor is a pair by its positions in the two images.
type anchor struct{ base, fixed int }

// pairOrder pairs what stands between pairs that are in the same order in both
// images: equal code always; similar code when similar is set; at the end
// (last) also a single pair of neighbours that are not very similar.
func (d *Diff) pairOrder(similar, last bool) int {
	free := d.freeByHash()
	n := 0
	prev := anchor{-1, -1}
	for _, next := range append(d.anchors(), anchor{len(d.Base.Funcs), len(d.Fixed.Funcs)}) {
		x := d.freeBase(d.Base.Funcs[prev.base+1 : next.base])
		y := d.freeFixed(d.Fixed.Funcs[prev.fixed+1 : next.fixed])
		prev = next
		if len(x)*len(y) > maxOrderCells {
			n += d.pairEnds(&x, &y, free)
		}
		if len(x) == 0 || len(y) == 0 || len(x)*len(y) > maxOrderCells {
			continue
		}
		n += d.orderStretch(x, y, func(a, b *Func) float64 {
			return d.score(a, b, free, similar, last && len(x) == len(y), len(x)*len(y) <= maxTokenCells)
		})
	}
	return n
}

// pairEnds pairs equal code at both ends of a stretch, as long as there is any; what
// is left is between. No order pairs more of it.
func (d *Diff) pairEnds(x, y *[]*Func, free map[uint64]int) (n int) {
	equal := func(a, b *Func) bool {
		return a.Hash == b.Hash && d.score(a, b, free, false, false, false) > 0 && d.join(a, b, byOrder)
	}
	for len(*x) > 0 && len(*y) > 0 && equal((*x)[0], (*y)[0]) {
		*x, *y = (*x)[1:], (*y)[1:]
		n++
	}
	for len(*x) > 0 && len(*y) > 0 && equal((*x)[len(*x)-1], (*y)[len(*y)-1]) {
		*x, *y = (*x)[:len(*x)-1], (*y)[:len(*y)-1]
		n++
	}
	return n
}

// anchors are the pairs of the longest run that is increasing in both images.
func (d *Diff) anchors() []anchor {
	var all []anchor
	for i, a := range d.baseOf {
		if a != nil {
			all = append(all, anchor{a.Index, i})
		}
	}
	return increasing(all)
}

// increasing is a longest subsequence whose base positions increase; the input
// is by fixed position. Patience sorting, O(n log n).
func increasing(p []anchor) []anchor {
	var tails []int
	prev := make([]int, len(p))
	for i := range p {
		k := sort.Search(len(tails), func(k int) bool { return p[tails[k]].base >= p[i].base })
		prev[i] = -1
		if k > 0 {
			prev[i] = tails[k-1]
		}
		if k == len(tails) {
			tails = append(tails, i)
		} else {
			tails[k] = i
		}
	}
	var out []anchor
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = prev[i] {
			out = append(out, p[i])
		}
	}
	slices.Reverse(out)
	return out
}

// freeByHash counts, for every hash, unpaired fixed minus unpaired base
// functions.
func (d *Diff) freeByHash() map[uint64]int {
	n := map[uint64]int{}
	for i, f := range d.Fixed.Funcs {
		if d.baseOf[i] == nil {
			n[f.Hash]++
		}
	}
	for i, f := range d.Base.Funcs {
		if d.fixedOf[i] == nil {
			n[f.Hash]--
		}
	}
	return n
}

// score says how well two functions go together; 0: not at all.
func (d *Diff) score(a, b *Func, free map[uint64]int, similar, neighbours, tokens bool) float64 {
	const equal = 3
	if !d.compatible(a, b) || a.described() != b.described() || d.sectionName(d.Base, a) != d.sectionName(d.Fixed, b) {
		return 0
	}
	if a.Hash == b.Hash {
		// Twins: with one more on one side nobody knows which one is new.
		if free[a.Hash] != 0 && len(a.Refs) > 0 {
			return 0
		}
		return equal
	}
	if !similar {
		return 0
	}
	s := ratio(a.Insts, b.Insts) * ratio(len(a.Refs)+1, len(b.Refs)+1)
	if s < 0.3 && !neighbours {
		return 0
	}
	if tokens {
		s = d.similarity(a, b)
	}
	if s < 0.35 && !neighbours {
		return 0
	}
	return s
}

func (d *Diff) sectionName(c *Code, f *Func) string {
	if s := c.SectionAt(f.Lo); s != nil && s.Class == image.Text {
		return s.Name
	}
	return ""
}

func ratio(a, b int) float64 {
	if a > b {
		a, b = b, a
	}
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// orderStretch pairs x with y keeping their order, for the greatest total
// score (dynamic programming as in sequence alignment).
func (d *Diff) orderStretch(x, y []*Func, score func(a, b *Func) float64) int {
	w := len(x) + 1
	total := make([]float64, (len(y)+1)*w)
	scores := make([]float64, len(y)*len(x))
	for i, b := range y {
		for j, a := range x {
			s := score(a, b)
			scores[i*len(x)+j] = s
			v := max(total[i*w+j+1], total[(i+1)*w+j])
			if s > 0 {
				v = max(v, total[i*w+j]+s)
			}
			total[(i+1)*w+j+1] = v
		}
	}
	n := 0
	for i, j := len(y), len(x); i > 0 && j > 0; {
		s := scores[(i-1)*len(x)+j-1]
		switch {
		case s > 0 && total[i*w+j] == total[(i-1)*w+j-1]+s:
			how := bySimilar
			if x[j-1].Hash == y[i-1].Hash {
				how = byOrder
			}
			if d.join(x[j-1], y[i-1], how) {
				n++
			}
			i, j = i-1, j-1
		case total[i*w+j] == total[(i-1)*w+j]:
			i--
		default:
			j--
		}
	}
	return n
}

// similarity is the share of tokens that two functions have in common (Dice).
func (d *Diff) similarity(a, b *Func) float64 {
	x, y := d.shapes(d.Base, a), d.shapes(d.Fixed, b)
	n := 0
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] < y[j]:
			i++
		case x[i] > y[j]:
			j++
		default:
			n++
			i, j = i+1, j+1
		}
	}
	return 2 * float64(n) / float64(max(len(x)+len(y), 1))
}
