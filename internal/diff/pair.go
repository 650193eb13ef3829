package diff

import (
	"cmp"
	"context"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// link says how a pair was found, the firmer the greater.
type link uint8

const (
	unpaired   link = iota
	bySimilar       // order between anchors and similar code
	byOrder         // order between anchors and equal code
	bySoftRef       // referred to by a pair found by order
	byAligned       // referred to at aligned places of a pair whose code differs
	byFact          // its address is stored, or handed over, where that of its counterpart is
	byTableRef      // slots of a table that are mapped onto each other
	byRef           // referred to by a firm pair with equal code
	byHash          // the only function with this code on either side
	byName
)

// firm pairs may speak about data without a second witness.
func (l link) firm() bool { return l >= byFact }

func (l link) String() string {
	return [...]string{"nothing", "order and similarity", "order", "references of functions paired by order",
		"aligned references", "what is done with its address", "table slots", "references", "unique code", "name"}[l]
}

// tiny functions (fewer instructions than this) have too little code of their
// own for its uniqueness to mean much: they are paired by order.
const tiny = 6

// pair finds the counterpart of every function and of every data address.
// Evidence goes first: what names, unique code, references, tables and aligned
// instructions say. Only what they leave is paired by its place among the
// others, and dissolved again when evidence that this brings speaks against it.
func (d *Diff) pair(ctx context.Context) {
	if d.pairIdentical() {
		d.vote()
		return
	}
	d.pairNames()
	d.pairHashes()
	d.pairContents()
	d.pairReferences()
	d.vote()
	d.pairEvidence()
	const rounds = 6
	for round := range rounds {
		if ctx.Err() != nil {
			return
		}
		n := d.pairOrder(false, false)
		n += d.pairReferences()
		n += d.pairEvidence()
		n += d.pairOrder(true, round > 0)
		n += d.pairReferences()
		n += d.pairEvidence()
		if d.dissolve() > 0 && round < rounds-1 {
			continue
		}
		if n == 0 && !d.pairSplit() {
			break
		}
	}
	clear(d.alignments)
	d.vote()
	d.findUncertain()
}

// findUncertain marks the pairs whose code differs, that no name, reference or
// table confirms, and that are not very similar. Nor does a table that may hold
// another function than before: where both have names, and not the same.
func (d *Diff) findUncertain() {
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		if a != nil && d.how[i] == byTableRef && !d.compatible(a, b) {
			d.uncertain[i] = true
			continue
		}
		if a == nil || a.Hash == b.Hash || d.how[i].firm() {
			continue
		}
		enough := 0.5
		if d.how[i] == bySimilar {
			enough = 0.8
		}
		d.uncertain[i] = d.similarity(a, b) < enough
	}
}

// pairEvidence pairs by tables and aligned instructions until they give no
// more.
func (d *Diff) pairEvidence() int {
	total := 0
	for range 8 {
		n := d.pairSlots()
		n += d.pairFacts()
		n += d.pairAligned()
		n += d.pairReferences()
		total += n
		if n == 0 {
			break
		}
		d.vote()
	}
	return total
}

// pairIdentical pairs an image with itself.
func (d *Diff) pairIdentical() bool {
	if d.Base.BuildID != d.Fixed.BuildID || d.Base.BuildID == "" || len(d.Base.Funcs) != len(d.Fixed.Funcs) {
		return false
	}
	for i, b := range d.Fixed.Funcs {
		if a := d.Base.Funcs[i]; a.Lo != b.Lo || a.Hash != b.Hash {
			return false
		}
	}
	for i, b := range d.Fixed.Funcs {
		d.baseOf[i], d.fixedOf[i], d.how[i] = d.Base.Funcs[i], b, byName
	}
	return true
}

// join makes a pair unless either is taken or they cannot belong together.
func (d *Diff) join(a, b *Func, how link) bool {
	if d.baseOf[b.Index] != nil || d.fixedOf[a.Index] != nil || !d.compatible(a, b) && !(how == byTableRef && d.renamed(a, b)) || d.banned[anchor{a.Index, b.Index}] {
		return false
	}
	d.baseOf[b.Index], d.fixedOf[a.Index], d.how[b.Index] = a, b, how
	return true
}

// renamed says that a could be b by another name: the other image knows neither
// of the two names. That they are the same function, a slot in a table must say.
func (d *Diff) renamed(a, b *Func) bool {
	if a.described() != b.described() || a.Fragment || b.Fragment {
		return false
	}
	if d.stems[0] == nil {
		d.stems = [2]map[string]bool{d.Base.stems(), d.Fixed.stems()}
	}
	known := func(f *Func, stems map[string]bool) bool {
		return slices.ContainsFunc(f.Names, func(n string) bool { return stems[names.Stem(n)] })
	}
	return !known(a, d.stems[1]) && !known(b, d.stems[0])
}

// stems are those of all functions of an image.
func (c *Code) stems() map[string]bool {
	out := map[string]bool{}
	for _, f := range c.Funcs {
		for _, n := range f.Names {
			out[names.Stem(n)] = true
		}
	}
	return out
}

// compatible says whether names and kind allow a pair. Where both images have
// symbols, a function of another name is another function.
func (d *Diff) compatible(a, b *Func) bool {
	if a.described() != b.described() && (a.Source == image.FromGap || b.Source == image.FromGap) {
		return false
	}
	if a.Fragment != b.Fragment || a.Resolver != b.Resolver || a.Hash != b.Hash && d.elsewhere(a, b) {
		return false
	}
	if len(a.Names) == 0 || len(b.Names) == 0 {
		// With full symbols on both sides a name on one side only is a sign of
		// another function, but hand-written code is often nameless.
		return true
	}
	for _, x := range a.Names {
		for _, y := range b.Names {
			if sameName(a, x, b, y) {
				return true
			}
		}
	}
	return false
}

// named are the functions of one image by name; order of addresses within.
func named(c *Code) ([]string, map[string][]*Func) {
	by := map[string][]*Func{}
	var names []string
	for _, f := range c.Funcs {
		for _, n := range f.Names {
			if by[n] == nil {
				names = append(names, n)
			}
			by[n] = append(by[n], f)
		}
	}
	slices.Sort(names)
	return names, by
}

// pairNames pairs by symbols. A name that repeats (static functions of several
// files) is settled by equal code first, and the rest by order when both
// images have the same number left.
func (d *Diff) pairNames() {
	d.pairVersions()
	d.pairJoined()
	all, fixed := named(d.Fixed)
	_, base := named(d.Base)
	kin := families(base, fixed)
	for _, n := range all {
		if x, y := base[n], fixed[n]; len(x) == 1 && len(y) == 1 && !kin[names.Family(n)].crowded && !d.elsewhere(x[0], y[0]) {
			d.join(x[0], y[0], byName)
		}
	}
	d.pairFamilies(kin)
	for _, n := range all {
		x, y := base[n], fixed[n]
		if len(x) == 0 || len(x) == 1 && len(y) == 1 || kin[names.Family(n)].crowded {
			continue
		}
		d.pairSources(x, y)
		x, y = d.freeBase(x), d.freeFixed(y)
		d.pairUnique(x, y, byName)
		x, y = d.freeBase(x), d.freeFixed(y)
		if len(x) != len(y) {
			continue
		}
		for i := range x {
			d.join(x[i], y[i], byOrder)
		}
	}
}

func (d *Diff) freeBase(fs []*Func) []*Func {
	return slices.DeleteFunc(slices.Clone(fs), func(f *Func) bool { return d.fixedOf[f.Index] != nil })
}

func (d *Diff) freeFixed(fs []*Func) []*Func {
	return slices.DeleteFunc(slices.Clone(fs), func(f *Func) bool { return d.baseOf[f.Index] != nil })
}

// pairHashes pairs functions whose code occurs once on either side, except for
// tiny ones.
func (d *Diff) pairHashes() { d.pairUnique(d.Base.Funcs, d.Fixed.Funcs, byHash) }

func (d *Diff) pairUnique(base, fixed []*Func, how link) {
	x, y := byHashOrder(base), byHashOrder(fixed)
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch c := cmp.Compare(x[i].Hash, y[j].Hash); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			ni, nj := run(x[i:]), run(y[j:])
			if ni == 1 && nj == 1 {
				if how != byHash || x[i].Insts >= tiny {
					d.join(x[i], y[j], how)
				}
			}
			i, j = i+ni, j+nj
		}
	}
}

func byHashOrder(fs []*Func) []*Func {
	s := slices.Clone(fs)
	slices.SortFunc(s, func(a, b *Func) int {
		return cmp.Or(cmp.Compare(a.Hash, b.Hash), compareAddr(a.Lo, b.Lo))
	})
	return s
}

// run is how many functions at the start of fs have the same hash.
func run(fs []*Func) int {
	n := 1
	for n < len(fs) && fs[n].Hash == fs[0].Hash {
		n++
	}
	return n
}
