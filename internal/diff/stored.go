package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Which address does a function leave behind in memory that lives on? Objects that old
// code made keep the callback, or the table of such, that it gave them, and go on
// calling that when the fixed function would give them another one.

// Restored says that a function stores other addresses of functions or of tables in a
// place than before.
type Restored struct {
	F       *Func    // fixed
	Was, Is []string // names: what only the one stored there, or all, if that is none
}

// storedPlace is where an address is stored: in a variable, or at a distance from a
// pointer that does not lead into the frame.
type storedPlace struct {
	variable image.Addr // 0: none
	off      int64
	indexed  bool
}

// storedValue is an address: of a function or of a constant of the image, or what a
// name stands for that another image brings.
type storedValue struct {
	at       image.Addr
	sym      string
	function bool // what sym stands for is one, as far as is known
}

// stored is that an address is stored.
type stored struct {
	in    storedPlace
	value storedValue
}

// Restored finds these for a changed function. Places in which a version stores
// nothing that could be told are not compared. New functions are not looked for: who
// uses one for the first time may not have made what it is stored in.
func (d *Diff) Restored(f *Func) (out []Restored) {
	a := d.baseOf[f.Index]
	if a == nil || f.Fragment || !a.described() || !f.described() {
		return nil
	}
	x, y := d.Base.storables(a, d.baseParts[a]), d.Fixed.storables(f, d.parts[f])
	if slices.EqualFunc(x, y, d.sameStored) {
		return nil // one after the other, as before
	}
	was := d.storedBy(d.Base, a, d.baseParts[a])
	if len(was) == 0 {
		return nil
	}
	now := d.storedBy(d.Fixed, f, d.parts[f])
	for len(now) > 0 {
		in := now[0].in
		n := slices.IndexFunc(now, func(s stored) bool { return s.in != in })
		if n < 0 {
			n = len(now)
		}
		if r, ok := d.restored(f, was, now[:n]); ok {
			out = append(out, r)
		}
		now = now[n:]
	}
	return out
}

// restored compares what is stored in one place of the fixed image.
func (d *Diff) restored(f *Func, was, now []stored) (Restored, bool) {
	in := now[0].in
	if in.variable != 0 {
		b := d.Map(in.variable)
		if !b.OK() {
			return Restored{}, false
		}
		in.variable = b.Base
	}
	was = slices.DeleteFunc(slices.Clone(was), func(s stored) bool { return s.in != in })
	var came []string
	for _, s := range now {
		code := d.Fixed.code(s.value) // else it is a member of another structure
		if slices.ContainsFunc(was, func(w stored) bool { return d.Base.code(w.value) == code }) && !slices.ContainsFunc(was, func(w stored) bool { return d.sameStored(w.value, s.value) }) && !d.bringsStored(s.value) {
			came = append(came, storedName(d.Fixed, s.value))
		}
	}
	if len(was) == 0 || len(came) == 0 {
		return Restored{}, false
	}
	r := Restored{F: f, Is: came}
	for _, w := range was {
		r.Was = append(r.Was, storedName(d.Base, w.value))
	}
	return r, true
}

// code: it is the address of a function.
func (c *Code) code(v storedValue) bool {
	return v.function || v.sym == "" && c.ClassAt(v.at) == image.Text
}

// bringsStored: the base image has no such function, or no such constant.
func (d *Diff) bringsStored(v storedValue) bool {
	if g := d.Fixed.Entry(v.at); g != nil {
		return d.baseOf[g.Index] == nil
	}
	if v.sym == "" && d.Fixed.ClassAt(v.at) == image.ROData {
		_, ok := d.SameConstant(v.at)
		return !ok
	}
	return false
}

// sameStored: the one is the counterpart of the other. A table that changed is still
// the same one; it is carried for what it is.
func (d *Diff) sameStored(w, v storedValue) bool {
	if w.sym != "" || v.sym != "" {
		return w.sym == v.sym
	}
	if d.Base.ClassAt(w.at) == image.Text || d.Fixed.ClassAt(v.at) == image.Text {
		return d.sameCodePlace(w.at, v.at)
	}
	b := d.Map(v.at)
	return b.OK() && b.Base == w.at || d.SameTable(w.at, v.at)
}

func storedName(c *Code, v storedValue) string {
	switch {
	case v.sym != "":
		return v.sym
	case c.ClassAt(v.at) == image.Text:
		return baseName(c, v.at)
	}
	return variableName(c, v.at)
}

// mostStored is how many addresses of one function are followed. What only fills in
// tables of its own takes more.
const mostStored = 8 * maxTracked

// storedBy are the addresses that f and its parts store, each once, by place.
func (d *Diff) storedBy(c *Code, f *Func, parts []*Func) (out []stored) {
	var values []storedValue
	for _, v := range c.storables(f, parts) {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	values = values[:min(len(values), mostStored)]
	for first := true; len(values) > 0; first = false { // as many as can be told apart
		some := values[:min(maxTracked, len(values))]
		values = values[len(some):]
		number := func(kinds ...Kind) func(*Func, int) int {
			return func(g *Func, k int) int {
				r := &g.Refs[k]
				if v, ok := c.storable(r); ok && slices.Contains(kinds, r.Kind) {
					return slices.Index(some, v)
				}
				return -1
			}
		}
		w := traceLoads(c, f, parts, number(Lea), number(Access))
		if w.lost {
			return nil
		}
		if first {
			out = w.storedPairs(f, parts)
		}
		for i := range w.steps {
			p, o := &w.steps[i], &w.states[i]
			place, ok := o.livingPlace(p)
			if !ok {
				continue
			}
			for n, v := range some {
				if w.storedFrom(p, o)&(1<<(firstTracked+n)) != 0 {
					out = append(out, stored{place, v})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b stored) int {
		return cmp.Or(compareAddr(a.in.variable, b.in.variable), cmp.Compare(a.in.off, b.in.off), truth(a.in.indexed)-truth(b.in.indexed),
			compareAddr(a.value.at, b.value.at), cmp.Compare(a.value.sym, b.value.sym))
	})
	return slices.Compact(out)
}

// storedPairs are the functions that are stored by vector registers, two at a time.
func (w *trace) storedPairs(f *Func, parts []*Func) (out []stored) {
	for _, g := range append([]*Func{f}, parts...) {
		for _, a := range w.c.factsOf(g) {
			i, ok := w.index[g.Lo+image.Addr(a.at)]
			if !a.pair || a.value == 0 || !ok || !w.states[i].seen {
				continue
			}
			switch p := &w.steps[i].in; {
			case a.kind == storedIn:
				out = append(out, stored{storedPlace{variable: a.to}, storedValue{at: a.value}})
			case p.Base >= 0 && p.Base < 16 && w.states[i].regs[p.Base]&fromStack == 0:
				out = append(out, stored{storedPlace{off: int64(a.n)}, storedValue{at: a.value}})
			}
		}
	}
	return out
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// storables are those of f and its parts, in order of their references.
func (c *Code) storables(f *Func, parts []*Func) (out []storedValue) {
	add := func(g *Func) {
		for k := range g.Refs {
			if v, ok := c.storable(&g.Refs[k]); ok {
				out = append(out, v)
			}
		}
	}
	add(f)
	for _, p := range parts {
		add(p)
	}
	return out
}

// storable is the function, or the table (no string: what is said may change), whose address a reference
// takes, or loads from where the loader put it.
func (c *Code) storable(r *Ref) (storedValue, bool) {
	const aligned = 32 // as tables are; what is not may be an empty string
	switch {
	case r.Kind == Lea && (r.Class == image.Text && c.Entry(r.Target) != nil || r.Class == image.RelRO),
		r.Kind == Lea && r.Class == image.ROData && c.CString(r.Target) <= 1 && (c.inNamed(r.Target) != nil || r.Target%aligned == 0):
		return storedValue{at: r.Target}, true
	case r.Kind == Lea && r.Class == image.PLT: // its address, in programs at a fixed address
		i, ok := c.PLTName(r.Target)
		return storedValue{sym: i.Name, function: true}, ok
	case r.Kind != Access || r.Class != image.GOT && r.Class != image.RelRO:
		return storedValue{}, false
	}
	if t := c.constantPointer(r.Target); t != 0 {
		k := c.ClassAt(t)
		return storedValue{at: t}, k == image.Text && c.Entry(t) != nil || k == image.RelRO
	}
	if p := c.RelocAt(r.Target); p != nil && p.Sym != "" { // of another image
		return storedValue{sym: p.Sym, function: p.Func}, true
	}
	return storedValue{}, false
}

// storedFrom is what a store writes.
func (w *trace) storedFrom(p *step, s *state) provenance {
	if p.in.Op == 0xc7 {
		return p.taken()
	}
	reg, _ := p.in.Named(p.code)
	if reg < 0 {
		return 0
	}
	return s.regs[reg]
}

// livingPlace is where a step stores a pointer, if that is not in the frame.
func (s *state) livingPlace(p *step) (storedPlace, bool) {
	in := &p.in
	if !s.seen || in.Vector || in.Map != 0 || !in.Wide || in.FS || !in.HasMemory() || in.Op != 0x89 && in.Op != 0xc7 {
		return storedPlace{}, false
	}
	if in.Base == arch.RIP {
		t, ok := in.Target(uint64(p.at), p.code)
		return storedPlace{variable: image.Addr(t)}, ok
	}
	if in.Base < 0 || in.Base > 15 || in.Base == rsp || s.regs[in.Base]&fromStack != 0 {
		return storedPlace{}, false
	}
	return storedPlace{off: in.Disp(p.code), indexed: in.Index != arch.NoReg}, true
}
