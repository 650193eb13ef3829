package diff

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// Entrance is a function of the base image that a running process may enter
// without the help of code that is replaced: through an address that it keeps
// in an object, a table or a register, or by its exported name.
type Entrance struct {
	Base  *Func
	Fixed *Func  // what it is paired with; nil: nothing
	Why   string // it is not certain that this is its counterpart; "": it is
}

// Entrances are all of them, by address; none where less than a quarter of the
// functions differs and the start-up files are the same. Where nearly all of a program is
// replaced, their counterparts matter and no others: what only other functions
// call is called by their new versions, or by functions with equal code, which
// call its counterpart in the fixed image, too.
//
// Certain is a pair by a name, by code that only these two have, or by what
// becomes of their addresses, when nothing else says otherwise; alignment and
// order are not enough.
func (d *Diff) Entrances() []Entrance { return d.entrances }

// rewritten says that another compiler may have made the fixed image.
func (d *Diff) rewritten() bool {
	const share = 4
	all, differ := 0, 0
	for i, b := range d.Fixed.Funcs {
		if b.Fragment || b.Source == image.FromGap {
			continue
		}
		all++
		if d.state[i] == Changed || d.state[i] == New {
			differ++
		}
	}
	return differ*share > all || slices.ContainsFunc(d.Startup(), func(f *Func) bool { return f.Source == image.FromGap })
}

func (d *Diff) findEntrances() []Entrance {
	was, is := entered(d.Base), entered(d.Fixed)
	all := func(c *Code) map[*Func]bool {
		out := map[*Func]bool{}
		for _, f := range c.Funcs {
			out[f] = f.described()
		}
		return out
	}
	alike := d.alikeEntrances(was, is)
	sure := make([]bool, len(d.Fixed.Funcs)) // by index of the fixed function
	for a, b := range d.alikeEntrances(all(d.Base), all(d.Fixed)) {
		sure[b.Index] = d.baseOf[b.Index] == a
	}
	for i, a := range d.baseOf {
		sure[i] = sure[i] || a != nil && (d.how[i].firm() || alike[a] == d.Fixed.Funcs[i])
	}
	d.nearlyAlike(sure)
	mains := [2]*Func{d.Base.Main(), d.Fixed.Main()}
	var agree, against []int
	for {
		agree, against = d.addressVotes(sure)
		n := 0
		for i, b := range d.Fixed.Funcs {
			a := d.baseOf[i]
			if a != nil && !sure[i] && (agree[a.Index] > 0 && against[a.Index] == 0 || mains[0] == a && mains[1] == b) {
				sure[i] = true
				n++
			}
		}
		if n == 0 {
			break
		}
	}
	starters := handedAtStart(d.Base)
	var out []Entrance
	for i, a := range d.Base.Funcs {
		if !was[a] || a.Fragment || a.Source == image.FromGap || starters[a] {
			continue
		}
		b := d.fixedOf[i]
		e := Entrance{Base: a, Fixed: b}
		switch {
		case b == nil:
			e.Why = "it has no counterpart"
		case mains[0] == a && mains[1] == b, d.how[b.Index] == byName:
		case against[i] > 0:
			e.Why = fmt.Sprintf("%d uses of its address speak against %s, and %d for it", against[i], b.Name(), agree[i])
		case !is[b]:
			e.Why = fmt.Sprintf("nothing takes the address of %s, its counterpart by %s", b.Name(), d.how[b.Index])
		case !sure[b.Index]:
			e.Why = fmt.Sprintf("it is taken for %s by %s alone", b.Name(), d.how[b.Index])
		}
		out = append(out, e)
	}
	return out
}

// addressVotes counts, for every base function, what of its uses says that it
// is what it is paired with, and what says that it is another. Only functions
// that are sure of their own counterpart speak for, any speaks against.
func (d *Diff) addressVotes(sure []bool) (agree, against []int) {
	agree, against = make([]int, len(d.Base.Funcs)), make([]int, len(d.Base.Funcs))
	add := func(c claim, sure bool) {
		a, b := d.Base.Funcs[c.base], d.Fixed.Funcs[c.fixed]
		if d.baseOf[b.Index] == a {
			if sure {
				agree[a.Index]++
			}
			return
		}
		against[a.Index]++
		if other := d.baseOf[b.Index]; other != nil {
			against[other.Index]++
		}
	}
	for i, a := range d.baseOf {
		b := d.Fixed.Funcs[i]
		if a == nil || !a.described() || !b.described() {
			continue
		}
		if a.Hash != b.Hash || len(a.Refs) != len(b.Refs) {
			for _, c := range d.factPairs(a, b) {
				add(c, sure[i])
			}
			if x, y := d.lastCallee(a, b, sure); sure[i] && x != nil && d.baseOf[y.Index] == x {
				add(claim{x.Index, y.Index, false}, true)
			}
			continue
		}
		for k := range a.Refs {
			if x, y := d.Base.Entry(a.Refs[k].Target), d.Fixed.Entry(b.Refs[k].Target); a.Refs[k].Class == image.Text && x != nil && y != nil {
				add(claim{x.Index, y.Index, false}, sure[i])
			}
		}
	}
	for _, c := range d.tableClaims(func(*Func) bool { return true }) {
		add(c, true)
	}
	return agree, against
}

// lastCallee is the one function that a and b call of which nothing is sure.
func (d *Diff) lastCallee(a, b *Func, sure []bool) (x, y *Func) {
	only := func(c *Code, f *Func, parts []*Func, known func(*Func) bool) *Func {
		var one *Func
		for _, p := range append([]*Func{f}, parts...) {
			for k := range p.Refs {
				r := &p.Refs[k]
				if r.Kind != Call || r.Class != image.Text {
					continue
				}
				g := c.Entry(r.Target)
				if g == nil || g == f || g == one || known(g) {
					continue
				}
				if one != nil {
					return nil
				}
				one = g
			}
		}
		return one
	}
	x = only(d.Base, a, d.baseParts[a], func(g *Func) bool { return d.fixedOf[g.Index] != nil && sure[d.fixedOf[g.Index].Index] })
	y = only(d.Fixed, b, d.parts[b], func(g *Func) bool { return sure[g.Index] })
	if x == nil || y == nil {
		return nil, nil
	}
	return x, y
}

// handedAtStart are the functions that the start of a program hands to the C
// library, other than main: older ones ran its constructors. They stay as they
// are, and run when the program starts and ends.
func handedAtStart(c *Code) map[*Func]bool {
	out := map[*Func]bool{}
	main := c.Main()
	for _, f := range c.Funcs {
		if main == nil || f.Insts > 40 || !slices.ContainsFunc(f.Refs, func(r Ref) bool {
			return r.Class == image.GOT && strings.HasPrefix(gotKey(c, r.Target).sym, "__libc_start_main")
		}) {
			continue
		}
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == Lea && r.Class == image.Text {
				if g := c.Entry(r.Target); g != nil && g != main {
					out[g] = true
				}
			}
		}
	}
	return out
}

// alikeEntrances are pairs of entrances that name the same strings, imports and
// functions, as no other does on either side.
func (d *Diff) alikeEntrances(was, is map[*Func]bool) map[*Func]*Func {
	few := 0
	named := func(c *Code, in map[*Func]bool, parts map[*Func][]*Func, index func(*Func) int) map[string][]*Func {
		out := map[string][]*Func{}
		for _, f := range c.Funcs {
			if !in[f] || f.Fragment || f.Source == image.FromGap {
				continue
			}
			names := c.names(f, parts[f], index)
			if few > 0 {
				names = slices.Compact(names)
			}
			if len(names) > few {
				k := strings.Join(names, "\x00")
				out[k] = append(out[k], f)
			}
		}
		return out
	}
	out := map[*Func]*Func{}
	// With how often each is named; then, of those that name several, without:
	// a compiler may make one call of two, or two of one.
	for _, few = range []int{0, 3} {
		x := named(d.Base, was, d.baseParts, d.pairedBase)
		y := named(d.Fixed, is, d.parts, d.pairedFixed)
		for k, fs := range x {
			if gs := y[k]; len(fs) == 1 && len(gs) == 1 && out[fs[0]] == nil {
				out[fs[0]] = gs[0]
			}
		}
	}
	return out
}

// nearlyAlike adds pairs that name nearly the same, when no other function on
// either side comes near: a fix may exchange one string of several.
func (d *Diff) nearlyAlike(sure []bool) {
	const least, share, others = 5, 0.75, 0.5
	x, y := make([][]string, len(d.Base.Funcs)), make([][]string, len(d.Fixed.Funcs))
	for i, a := range d.Base.Funcs {
		if a.described() {
			x[i] = d.Base.names(a, d.baseParts[a], d.pairedBase)
		}
	}
	for i, b := range d.Fixed.Funcs {
		if b.described() {
			y[i] = d.Fixed.names(b, d.parts[b], d.pairedFixed)
		}
	}
	for i, a := range d.baseOf {
		if a == nil || sure[i] || len(y[i]) < least || common(x[a.Index], y[i]) < share {
			continue
		}
		near := func(all [][]string, but int, names []string) bool {
			for k := range all {
				if k != but && common(all[k], names) >= others {
					return true
				}
			}
			return false
		}
		sure[i] = !near(y, i, x[a.Index]) && !near(x, a.Index, y[i])
	}
}

// common is the share of names that two sorted lists have in common (Dice).
func common(x, y []string) float64 {
	n := 0
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch strings.Compare(x[i], y[j]) {
		case -1:
			i++
		case 1:
			j++
		default:
			n++
			i, j = i+1, j+1
		}
	}
	return 2 * float64(n) / float64(max(len(x)+len(y), 1))
}

// pairedBase and pairedFixed number functions that have a counterpart.
func (d *Diff) pairedBase(f *Func) int {
	if d.fixedOf[f.Index] == nil {
		return -1
	}
	return f.Index
}

func (d *Diff) pairedFixed(f *Func) int {
	if a := d.baseOf[f.Index]; a != nil {
		return a.Index
	}
	return -1
}

// names are all the strings, imports and functions that f refers to, sorted, as
// often as it does. index is a number for a function, -1: none.
func (c *Code) names(f *Func, parts []*Func, index func(*Func) int) []string {
	var out []string
	for _, g := range append([]*Func{f}, parts...) {
		if g != f && !g.Fragment {
			continue
		}
		for k := range g.Refs {
			r := &g.Refs[k]
			switch r.Class {
			case image.ROData:
				if n := c.CString(r.Target); r.Kind == Lea && n > 2 && c.startsString(r.Target) {
					const most = 1024 // bytes, of one that thousands may refer to
					name := string(c.Bytes(r.Target, min(n, most)))
					if n > most {
						name += fmt.Sprint(n)
					}
					out = append(out, name)
				}
			case image.PLT, image.GOT:
				if n := c.importName(r.Class, r.Target); n != "" {
					out = append(out, "import "+n)
				}
			case image.Text:
				if h := c.Entry(r.Target); h != nil && h != f && !h.Fragment {
					if i := index(h); i >= 0 {
						out = append(out, fmt.Sprint("function ", i))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// entered are the functions of an image whose address is known to others.
func entered(c *Code) map[*Func]bool {
	out := map[*Func]bool{}
	add := func(a image.Addr) {
		if f := c.Entry(a); f != nil {
			out[f] = true
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok {
			add(t)
		}
	}
	for _, f := range c.Funcs {
		if exportedFrom(c, f) {
			out[f] = true
		}
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == Lea && r.Class == image.Text {
				add(r.Target)
			}
		}
	}
	for i := range c.Symbols {
		if s := &c.Symbols[i]; s.Type == elf.STT_GNU_IFUNC {
			add(s.Addr)
		}
	}
	return out
}

// Support is how many independent things say that the variable at v was where
// Map puts it: functions that refer to both, each counts; what is before and
// behind it together count as one; a name of its own is certain.
func (d *Diff) Support(v image.Addr) int {
	m := &d.data
	b := d.Map(v)
	if !b.OK() {
		return 0
	}
	if b.How == Named {
		return 2
	}
	n := 0
	if p, ok := m.placeAt(v); ok {
		for _, w := range p.votes {
			if w.base == b.Base {
				n += int(w.firm + w.soft + w.weak)
			} else {
				n -= int(w.firm + w.soft + w.weak)
			}
		}
	}
	for _, dir := range []int{-1, +1} {
		if q := m.beside(v, dir); q != nil && q.delta() == int64(v-b.Base) {
			return n + 1
		}
	}
	return n
}

// SameContent says that the variables at base and at fixed have the same size
// and start with the same content, pointers and the strings behind them
// included; and that it is not all zeros.
func (d *Diff) SameContent(base, fixed image.Addr) bool {
	n := d.Fixed.ObjectEnd(fixed) - fixed
	return n == d.Base.ObjectEnd(base)-base && d.data.alikeInitially(base, fixed, n)
}

// beside is the nearest reliable point before (dir -1) or behind v.
func (m *dataMap) beside(v image.Addr, dir int) *point {
	s := m.d.Fixed.SectionAt(v)
	if s == nil {
		return nil
	}
	k := 0
	for k < len(m.points) && m.points[k].fixed < v {
		k++
	}
	switch {
	case dir < 0:
		k--
	case k < len(m.points) && m.points[k].fixed == v:
		k++
	}
	return m.neighbour(k, dir, s)
}

// Comparable is the share of the longer changed functions, in percent, whose
// instructions correspond well enough to their counterparts' that a changed
// layout of what they handle would show.
func (d *Diff) Comparable() int {
	if d.drift.pairs == 0 {
		return 100
	}
	return 100 * d.drift.aligned / d.drift.pairs
}
