// Package diff pairs the functions and the data of two builds of one image and
// says what changed, with evidence. It decides nothing about emission.
//
// A stable distribution rebuilds a package with the same compiler, so nearly
// all machine code comes out equal but for addresses. The whole comparison
// rests on that, in these phases:
//
//  1. Decode (code.go). Every function is decoded once. Each PC-relative field
//     becomes a reference: where it is, what kind, where it leads. The hash of
//     a function is taken over its bytes with every such field replaced by the
//     class of its target, so it is the same wherever the linker put things.
//     .data and .bss count as one class: a variable that gets an initial value
//     moves from one to the other.
//
//  2. Pair (pair.go, order.go). By symbol names; by hashes that occur once on
//     either side; along the references of pairs with equal code (what the
//     third call of f calls in one image pairs with what the third call of its
//     counterpart calls in the other); by the order of functions between
//     pairs that are in the same order in both images; by slots of tables of
//     pointers; by the aligned instructions of pairs whose code differs.
//     Identical twins (getters of two variables have one hash) are paired by
//     order only if both sides have the same number of them, and such a pair
//     is soft: it may be a swap, so what it says of data needs a witness.
//
//  3. Map data (votes.go, datamap.go, binding.go, between.go). Every reference
//     of a pair with equal code is a vote: this place of the fixed image is that
//     place of the base image. Pairs whose code differs are aligned instruction
//     by instruction, blind to the map, and so are independent witnesses. Code
//     without unwind data does not vote: crtstuff refers to the ends of
//     sections, which are the addresses of other things. What nobody voted for
//     is interpolated between neighbours that agree, and only when the base
//     image refers to exactly that address; or it is a new variable, when there
//     is provably no room for it in the base image. Everything else stays
//     unmapped, with the reason: a wrong binding would corrupt a running
//     program.
//
//  4. Compare (compare.go, objects.go). Functions with equal code are the same
//     only if every reference leads to its counterpart: the constants, strings,
//     jump tables and tables of pointers behind them are compared too, tables
//     slot by slot and through what they point to.
//
//  5. Join fragments (compare.go). A cold part, or code that another function
//     jumps into the middle of, changes together with its parent.
//
//  6. Recognise noise (noise.go). Functions that differ only through a
//     version, date or line number inside a string change nothing that a
//     running process needs.
//
//  7. Judge what is not code (layout.go, drift.go, values.go, startup.go): types
//     by DWARF (package types compares them), signs of a changed layout without it,
//     initial values of variables, code that has already run.
//
// Everything is deterministic: maps are only looked up in, never ranged over.
package diff

import (
	"context"
	"sync"

	"hotpatch/internal/image"
)

// State is what became of a function from the base to the fixed image.
type State uint8

const (
	Same    State = iota
	Changed       // paired, and its code or what it refers to differs
	New           // only in the fixed image
	Gone          // only in the base image
	Noise         // paired; differs only in ways that no process needs
)

func (s State) String() string {
	switch s {
	case Same:
		return "same"
	case Changed:
		return "changed"
	case New:
		return "new"
	case Gone:
		return "gone"
	case Noise:
		return "noise"
	}
	return "unknown"
}

// Options are what the comparison may know besides the two images.
type Options struct {
	// Versions of the packages, base and fixed; "" when unknown. A string that
	// differs only by them is noise.
	BaseVersion, FixedVersion string
	// GiveUp, when the images are not of one compiler: the caller knows already
	// that nothing can come of it.
	GiveUp bool
}

// Diff is the result of Compare. It is not changed afterwards and safe to share.
type Diff struct {
	Base, Fixed *Code

	baseOf    []*Func // by index of the fixed function
	fixedOf   []*Func // by index of the base function
	how       []link  // by index of the fixed function
	uncertain []bool
	state     []State
	why       []string

	options     Options
	tokens      map[*Func][]token
	alignments  map[*Func]alignment // by fixed function
	facts       map[*Func][]fact
	banned      map[anchor]bool // pairs that were dissolved, by indices
	data        dataMap
	constants   map[image.Addr]image.Addr // fixed to base: see findIdentities
	objects     map[objectPair]*objectNode
	parts       map[*Func][]*Func // fixed functions that are one piece of code with others
	baseParts   map[*Func][]*Func
	starting    []bool // fixed functions that only start or end the image
	drift       drift
	splits      []Split
	entrances   []Entrance
	handovers   []Handover
	allocations []Allocation
	brackets    []Bracket
	once        []Once
	foreign     *Foreign
	sources     sources

	noises       map[[2]image.Addr]bool // see noiseString
	noiseSize    int
	threadsMoved bool
	strings      func() map[string]image.Addr // of the base image, see takenStrings
	stems        [2]map[string]bool           // of base and fixed functions, see renamed
}

// Compare pairs base with fixed and finds every difference. Two images can always be
// compared: the only error is that ctx ended, which is looked for at every phase.
func Compare(ctx context.Context, base, fixed *image.Image, o Options) (*Diff, error) {
	d := &Diff{
		options:    o,
		tokens:     map[*Func][]token{},
		alignments: map[*Func]alignment{},
		facts:      map[*Func][]fact{},
		banned:     map[anchor]bool{},
		objects:    map[objectPair]*objectNode{},
		noises:     map[[2]image.Addr]bool{},
	}
	var wg sync.WaitGroup
	wg.Go(func() { d.Base = decode(ctx, base) })
	d.Fixed = decode(ctx, fixed)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.strings = sync.OnceValue(d.Base.takenStrings)

	d.baseOf = make([]*Func, len(d.Fixed.Funcs))
	d.fixedOf = make([]*Func, len(d.Base.Funcs))
	d.how = make([]link, len(d.Fixed.Funcs))
	d.uncertain = make([]bool, len(d.Fixed.Funcs))
	d.state = make([]State, len(d.Fixed.Funcs))
	d.why = make([]string, len(d.Fixed.Funcs))

	d.sources = sharedSources(base, fixed)
	if d.foreign = d.findForeign(); d.foreign != nil {
		d.pairNames()
		d.pairHashes()
		d.compareCode()
		return d, nil
	}
	for _, phase := range []func(){
		func() { d.pair(ctx) },
		func() { d.compare(ctx) },
		func() { d.threadsMoved = d.findThreadMoves() },
		d.findNoise,
		d.findIdentities,
		func() { d.handovers = d.findHandovers() },
		func() { d.allocations = d.findAllocations() },
		func() { d.brackets = d.findBrackets() },
		func() { d.once = d.findOnce() },
		d.findRewritten,
	} {
		if phase(); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	d.tokens, d.alignments, d.banned, d.facts = nil, nil, nil, nil
	return d, nil
}

// findRewritten looks at what only matters where code was written anew.
func (d *Diff) findRewritten() {
	if d.rewritten() {
		d.entrances = d.findEntrances()
		d.findSetDrift()
	}
}

// BaseOf is the counterpart of a fixed function, nil for a new one.
func (d *Diff) BaseOf(f *Func) *Func { return d.baseOf[f.Index] }

// FixedOf is the counterpart of a base function, nil when it is gone.
func (d *Diff) FixedOf(f *Func) *Func { return d.fixedOf[f.Index] }

// State tells what became of a function of the fixed image, and why.
func (d *Diff) State(f *Func) (State, string) { return d.state[f.Index], d.why[f.Index] }

// Gone are the base functions without counterpart, by address.
func (d *Diff) Gone() []*Func {
	var out []*Func
	for i, f := range d.Base.Funcs {
		if d.fixedOf[i] == nil {
			out = append(out, f)
		}
	}
	return out
}

// Parts are the fixed functions that f is one code with: its fragments, or the
// parent and siblings of a fragment. f itself is not among them.
func (d *Diff) Parts(f *Func) []*Func { return d.parts[f] }

// BaseParts is Parts for a base function.
func (d *Diff) BaseParts(f *Func) []*Func { return d.baseParts[f] }

// Splits are the base functions that several functions of the fixed image
// replace.
func (d *Diff) Splits() []Split { return d.splits }

// Paired says how f is paired. certain is false when only its place among
// other functions and some, not much, similarity speak for the pair.
func (d *Diff) Paired(f *Func) (certain bool, how string) {
	l := d.how[f.Index]
	return !d.uncertain[f.Index], l.String()
}
