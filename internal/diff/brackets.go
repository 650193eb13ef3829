package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// Which operations that belong in pairs went to other functions? A reference is
// taken and dropped, a lock taken and given, something counted up and down. What one
// version has taken when the hotpatch is put in, or taken back, the other gives; so
// both have to agree on who does which. The pairs that one function makes for itself
// do no harm: it is on no stack then.

// Bracket says that of two changed functions one leans to taking, against before, and
// another one to giving: it takes more, or gives less; it gives more, or takes less.
type Bracket struct {
	Taker, Giver *Func  // fixed
	GivesLess    bool   // Taker gives less than before, instead of taking more
	TakesLess    bool   // Giver takes less than before, instead of giving more
	What         string // what is taken and given
	Counts       bool   // it is counted up and down
}

// Brackets are such pairs, one for each thing that is taken and given. Operations
// are known by names (ref and unref, lock and unlock), or add one to a member or
// variable, or take one from it. How often is counted over the code, not over its
// paths: one more that gives is no sign in a function that takes itself, since
// every way out of it needs one.
func (d *Diff) Brackets() []Bracket { return d.brackets }

// bracket is what operations are told by.
type bracket struct {
	name     string     // of what they are for and how; "": they count
	variable image.Addr // of the base image, if it is known there; else 0
	offset   int64      // of the member, where there is no variable
	fixed    bool       // the variable is new, and its address of the fixed image
}

func compareBrackets(a, b bracket) int {
	return cmp.Or(strings.Compare(a.name, b.name), compareAddr(a.variable, b.variable), cmp.Compare(a.offset, b.offset))
}

// turns is how often something is taken and given.
type turns struct{ takes, gives int }

// balance is what a function takes and gives.
type balance map[bracket]turns

func (b balance) count(what bracket, sign int) {
	t := b[what]
	switch {
	case sign > 0:
		t.takes++
	case sign < 0:
		t.gives++
	}
	b[what] = t
}

// add counts what a callee does, too.
func (b balance) add(o balance) {
	for what, n := range o {
		t := b[what]
		b[what] = turns{t.takes + n.takes, t.gives + n.gives}
	}
}

// oneWay is what of it is only taken, or only given, once.
func (b balance) oneWay() balance {
	out := balance{}
	for what, n := range b {
		switch {
		case n.gives == 0:
			out.count(what, 1)
		case n.takes == 0:
			out.count(what, -1)
		}
	}
	return out
}

func (d *Diff) findBrackets() []Bracket {
	p := &bracketing{d: d, known: map[*Func]balance{}}
	plus, minus := map[bracket][]leaning{}, map[bracket][]leaning{}
	var all []bracket
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if a == nil || b.Fragment || !b.described() || d.state[i] != Changed || d.uncertain[i] {
			continue
		}
		x, y := p.of(d.Base, a, 0), p.of(d.Fixed, b, 0)
		for _, what := range keysOf(x, y) {
			takes, less := leans(x[what], y[what], what.name == "")
			switch {
			case takes > 0:
				plus[what] = append(plus[what], leaning{b, less})
			case takes < 0:
				minus[what] = append(minus[what], leaning{b, less})
			default:
				continue
			}
			all = append(all, what)
		}
	}
	slices.SortFunc(all, compareBrackets)
	var out []Bracket
	for _, what := range slices.Compact(all) {
		if found, ok := pairOf(plus[what], minus[what], what.moves()); ok {
			found.What, found.Counts = d.bracketName(what), what.name == ""
			out = append(out, found)
		}
	}
	return out
}

// leaning is a function that takes more than before, or gives more; less: that gives
// less, or takes less.
type leaning struct {
	fn   *Func
	less bool
}

// pairOf are two functions of which one leans to taking and the other to giving: both
// by doing more, or both by doing less. moves: or one does what the other did.
func pairOf(plus, minus []leaning, moves bool) (out Bracket, ok bool) {
	for _, x := range plus {
		for _, y := range minus {
			if alike := x.less == y.less; x.fn != y.fn && (alike || moves && !ok) {
				out, ok = Bracket{Taker: x.fn, Giver: y.fn, GivesLess: x.less, TakesLess: y.less}, true
				if alike {
					return out, true
				}
			}
		}
	}
	return out, ok
}

// moves: it matters which of two functions does it, also where it is done as often as
// before. A lock that is taken later was taken already for who is in between. Objects
// are counted and dropped in other functions by every other fix, without harm.
func (b bracket) moves() bool { return b.name != "" && !strings.HasPrefix(b.name, reference+":") }

// leans says whether a function takes more than before (1) or gives more (-1), and
// whether that is because it does less of the other. Compilers copy the few
// instructions that count to several places: with counts, only the first one and
// the last one say something.
func leans(x, y turns, counts bool) (sign int, less bool) {
	takes, gives := y.takes-x.takes, y.gives-x.gives
	switch {
	case takes > 0 && gives <= 0 && (!counts || x.takes == 0):
		return 1, false
	case gives > 0 && takes <= 0 && y.takes == 0 && (!counts || x.gives == 0):
		return -1, false
	case gives < 0 && takes >= 0 && x.takes == 0 && (!counts || y.gives == 0):
		return 1, true
	case takes < 0 && gives >= 0 && (!counts || y.takes == 0):
		return -1, true
	}
	return 0, false
}

func keysOf(x, y balance) []bracket {
	var out []bracket
	for what := range x {
		out = append(out, what)
	}
	for what := range y {
		out = append(out, what)
	}
	slices.SortFunc(out, compareBrackets)
	return slices.Compact(out)
}

// bracketName is what is taken and given, in words.
func (d *Diff) bracketName(b bracket) string {
	switch {
	case b.name != "":
		class, of, _ := strings.Cut(b.name, ":")
		if of == "" {
			return "the " + class
		}
		return "the " + class + " of " + of
	case b.variable != 0 && b.fixed:
		return "the variable " + variableName(d.Fixed, b.variable)
	case b.variable != 0:
		return "the variable " + variableName(d.Base, b.variable)
	}
	return fmt.Sprintf("what is at offset %#x of an object", b.offset)
}

// bracketing knows what functions take and give.
type bracketing struct {
	d     *Diff
	known map[*Func]balance // of both images
}

// of is what f takes and gives, with its parts. What it calls counts as its own
// where that has no counterpart, or differs: so nothing is told of code that only
// went from a function to one that it calls.
func (p *bracketing) of(c *Code, f *Func, depth int) balance {
	if known, ok := p.known[f]; ok {
		return known
	}
	p.known[f] = balance{} // while it is looked at: it may call itself
	out := balance{}
	parts := p.d.parts
	if c == p.d.Base {
		parts = p.d.baseParts
	}
	p.follow(c, f, depth, out)
	for _, g := range parts[f] {
		if g.Fragment {
			p.follow(c, g, depth, out)
		}
	}
	p.known[f] = out
	return out
}

// callee is what a call of g does.
func (p *bracketing) callee(c *Code, g *Func, depth int) balance {
	const deep, small = 4, 100
	switch {
	case g.Fragment || depth >= deep:
		return nil
	case p.replaced(c, g):
		return p.of(c, g, depth+1)
	case g.Insts > small:
		return nil
	}
	// What it calls of its own image is not asked for.
	return p.of(c, g, deep).oneWay()
}

// replaced: g has no counterpart, or another one.
func (p *bracketing) replaced(c *Code, g *Func) bool {
	if c == p.d.Base {
		if g = p.d.fixedOf[g.Index]; g == nil {
			return true
		}
	}
	return p.d.state[g.Index] == Changed || p.d.state[g.Index] == New
}

// follow notes what the code of f does, and what it calls.
func (p *bracketing) follow(c *Code, f *Func, depth int, out balance) {
	code := c.Text(f)
	p.d.handed(c, f, func(t *token, regs *holding) {
		in := &t.in
		switch {
		case in.IsCall() || in.IsJump():
			if t.ref < 0 {
				return
			}
			name, g := c.called(&f.Refs[t.ref])
			if g != nil && (g == f || !p.sameName(c, g)) {
				name = ""
			}
			for _, o := range bracketsOf(name, regs) {
				out.count(bracket{name: o.class + ":" + o.of}, o.sign)
			}
			if g != nil && g != f {
				out.add(p.callee(c, g, depth))
			}
		case in.HasMemory() && !in.Vector:
			if sign := addsOne(t, code[t.at:], regs); sign != 0 {
				if what, ok := p.counted(c, f, t, regs); ok {
					out.count(what, sign)
				}
			}
		}
	})
}

// sameName: both images call g so. What only one of them has symbols for says nothing.
func (p *bracketing) sameName(c *Code, g *Func) bool {
	o := p.d.baseOf[0:]
	if c == p.d.Base {
		o = p.d.fixedOf
	}
	h := o[g.Index]
	return h != nil && len(h.Names) > 0
}

// counted is where an instruction counts: a variable, or a member of an object.
func (p *bracketing) counted(c *Code, f *Func, t *token, regs *holding) (bracket, bool) {
	in := &t.in
	if t.ref >= 0 {
		r := &f.Refs[t.ref]
		if r.Kind != Access || !r.Class.Writable() || r.Indexed {
			return bracket{}, false
		}
		if c == p.d.Base {
			return bracket{variable: r.Leads()}, true
		}
		if b := p.d.Map(r.Target); b.OK() {
			return bracket{variable: b.Base + image.Addr(int64(r.Off))}, true
		}
		return bracket{variable: r.Leads(), fixed: true}, true
	}
	if in.Index >= 0 || in.Base < 0 || in.Base >= 16 || in.Base == rsp || in.Base == rbp && t.disp < 0 {
		return bracket{}, false
	}
	at := int64(t.disp)
	if h := regs[in.Base]; h.is == heldArgument || h.is == heldLoaded || h.is == heldContent {
		at += h.off
	}
	return bracket{offset: at}, true
}

// addsOne says whether t, which works on memory, adds one to what is there (1) or
// takes one from it (-1).
func addsOne(t *token, code []byte, regs *holding) int {
	in := &t.in
	one := func(n int64) int {
		if n == 1 || n == -1 {
			return int(n)
		}
		return 0
	}
	reg, _ := in.Named(code)
	switch op := in.Op; {
	case in.Map == 1 && (op == 0xc0 || op == 0xc1): // xadd
		if h := regs[reg&15]; reg >= 0 && h.is == heldNumber {
			return one(int64(int32(h.n)))
		}
	case in.Map != 0:
	case op == 0xfe || op == 0xff:
		switch in.Reg() {
		case 0:
			return 1
		case 1:
			return -1
		}
	case op == 0x80 || op == 0x81 || op == 0x83:
		switch in.Reg() {
		case 0:
			return one(in.Imm(code))
		case 5:
			return -one(in.Imm(code))
		}
	case (op == 0x88 || op == 0x89) && reg >= 0:
		// What was there before, with one more or less.
		h := regs[reg&15]
		there := h.is == heldLoaded && t.ref < 0 && h.n == int64(t.disp)
		if there {
			return one(h.off)
		}
	}
	return 0
}
