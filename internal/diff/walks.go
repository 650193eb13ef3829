package diff

import (
	"bytes"
	"cmp"
	"slices"

	"hotpatch/internal/image"
)

// Walk says what a function compares an address with that it takes itself.
// Loops over a table compare a pointer that walks it with the address where it
// ends, which is also the address of whatever follows.
type Walk struct {
	// From are the references in the same code to addresses before it where
	// pointers start that are compared with it: it is the end of what is there.
	From []Taken
	// Start: it is compared with pointers that start there or behind it, so it
	// is the start of an object.
	Start bool
	// Elsewhere: it is compared with pointers that come from memory, from a
	// caller or from a call.
	Elsewhere bool
	// Used: it is not only compared, but also read through, stored or passed
	// on. Nobody does that with the end of an object, unless a walk starts there.
	Used bool
}

// Taken is a reference that takes an address.
type Taken struct {
	F *Func
	K int
}

// Compared says whether the address is compared with anything.
func (w Walk) Compared() bool { return len(w.From) > 0 || w.Start || w.Elsewhere }

// Walker finds walks. It remembers the last function, since a caller asks for
// one reference after the other.
type Walker struct {
	d     *Diff
	f     *Func
	class image.Class
	all   look
	kept  keptLook
	work  int // instructions looked at, so far

	callers  *confines      // made when needed
	returned map[*Func]bool // by returns
}

// look is the analysis of one function that tells apart the addresses it takes,
// as far as there are bits: several may share one.
type look struct {
	t     *trace
	taken []Taken // one reference to each address; by bit, modulo maxTracked
}

// keptLook is an analysis of f that tells apart some of its references.
type keptLook struct {
	f    *Func
	bits map[int]int // by reference
	t    *trace
	// All that is handed to calls or stored outside of the frame, and returned.
	passed, returned provenance
}

// mostWork is how many instructions a Walker looks at: a hundred times what the
// largest programs of a distribution ask for. What comes later is uncertain.
const mostWork = 100 << 20

// Walker makes one; it is not safe for concurrent use.
func (d *Diff) Walker() *Walker { return &Walker{d: d} }

// look analyses f with the addresses that wanted says; reference own of f has a
// bit for itself.
func (w *Walker) look(f *Func, own int, wanted func(*Ref) bool) look {
	var l look
	index := map[image.Addr]int{}
	if own >= 0 {
		l.taken = append(l.taken, Taken{f, own})
	}
	l.t = traceOf(w.d.Fixed, f, w.d.parts[f], func(g *Func, j int) int {
		q := &g.Refs[j]
		switch {
		case g == f && j == own:
			return 0
		case !wanted(q):
			return -1
		}
		n, ok := index[q.Target]
		if !ok {
			n = len(l.taken)
			index[q.Target] = n
			l.taken = append(l.taken, Taken{g, j})
		}
		return n % maxTracked
	})
	w.work += len(l.t.steps)
	return l
}

// Walk analyses what f compares the address with that its reference k takes.
func (w *Walker) Walk(f *Func, k int) Walk {
	r := &f.Refs[k]
	if r.Kind != Lea {
		return Walk{}
	}
	if w.work > mostWork {
		return Walk{Elsewhere: true}
	}
	class := w.d.walked(r)
	if w.f != f || w.class != class {
		w.f, w.class = f, class
		w.all = w.look(f, -1, func(q *Ref) bool { return sameClass(w.d.walked(q), class) })
	}
	out := w.all.walk(f, r, w.returns)
	if !out.Compared() {
		return out
	}
	// Once more, for this reference alone, with those that can matter to it: a
	// compiler does not know which objects will be neighbours, so what is loaded
	// once is either the end of one or the start of another.
	from, ok := w.d.Before(r.Target)
	if !ok {
		from = r.Target
	}
	for _, s := range w.d.Fixed.SetsAt(r.Target) { // its elements are one table
		from = min(from, s.Addr)
	}
	if len(w.d.Fixed.Kept) > 0 {
		// Members that are indexed may be taken for objects.
		const further = 8
		for range further {
			if a, ok := w.d.Before(from); ok {
				from = a
			}
		}
	}
	near := w.look(f, k, func(q *Ref) bool {
		return sameClass(w.d.walked(q), class) && q.Target >= from && (q.Target <= r.Target || len(w.all.taken) <= maxTracked/2)
	})
	return near.walk(f, r, w.returns)
}

// Escapes says whether f may hand the address that its reference k takes to
// somebody who keeps it: it passes it to a call, stores or returns it.
func (w *Walker) Escapes(f *Func, k int) bool {
	l, ok := w.apart(f, k)
	if !ok || l.t.lost {
		return true
	}
	at, ok := l.t.index[f.Lo+image.Addr(f.Refs[k].At)]
	if !ok {
		return true
	}
	mine := provenance(1) << (firstTracked + l.bits[k])
	if (l.t.steps[at].bit|l.t.steps[at].mem)&mine == 0 {
		return true
	}
	return l.passed&mine != 0 || l.returned&mine != 0 && w.returns(f)
}

// apart is an analysis of f in which reference k has a bit of its own, and so have
// those of its class behind it, as long as there are bits.
func (w *Walker) apart(f *Func, k int) (*keptLook, bool) {
	l := &w.kept
	if _, ok := l.bits[k]; ok && l.f == f {
		return l, true
	}
	if w.work > mostWork {
		return nil, false
	}
	l.f, l.bits = f, map[int]int{}
	for j := k; j < len(f.Refs) && len(l.bits) < maxTracked; j++ {
		if r := &f.Refs[j]; j == k || r.Kind == Lea && r.Class == f.Refs[k].Class {
			l.bits[j] = len(l.bits)
		}
	}
	l.t = traceOf(w.d.Fixed, f, w.d.parts[f], func(g *Func, j int) int {
		if n, ok := l.bits[j]; ok && g == f {
			return n
		}
		return -1
	})
	w.work += len(l.t.steps)
	l.passed, l.returned = 0, 0
	for i := range l.t.steps {
		if l.t.states[i].seen {
			l.passed |= l.t.passed(i)
			l.returned |= l.t.returned(i)
		}
	}
	return l, true
}

// walked is the class of the objects that a walk to the address of r goes over:
// that of the section before where one starts that has no objects (.dynamic).
func (d *Diff) walked(r *Ref) image.Class {
	switch r.Class {
	case image.ROData, image.RelRO, image.Data, image.BSS:
		return r.Class
	}
	if s := d.Fixed.endingAt(r.Target); s != nil {
		return s.Class
	}
	return r.Class
}

func (l *look) walk(f *Func, r *Ref, returns func(*Func) bool) Walk {
	var out Walk
	at, ok := l.t.index[f.Lo+image.Addr(r.At)]
	if !ok || l.t.lost {
		out.Elsewhere = true
		return out
	}
	mine := l.t.steps[at].bit
	if r.Indexed {
		mine = l.t.steps[at].mem
	}
	if mine == 0 {
		out.Elsewhere = true
		return out
	}
	for i := range l.t.steps {
		if !l.t.states[i].seen {
			continue
		}
		x, y, ok := l.t.compares(i)
		if !ok {
			out.Used = out.Used || l.t.uses(i, mine) || l.t.returned(i)&mine != 0 && returns(f)
			continue
		}
		if x&mine != 0 {
			l.meet(&out, y, r.Target)
		}
		if y&mine != 0 {
			l.meet(&out, x, r.Target)
		}
	}
	slices.SortFunc(out.From, func(a, b Taken) int { return cmp.Or(a.F.Index-b.F.Index, a.K-b.K) })
	out.From = slices.Compact(out.From)
	return out
}

// meet notes that the address t is compared with a value from the places with.
func (l *look) meet(o *Walk, with provenance, t image.Addr) {
	for b, a := range l.taken {
		if with&(1<<(firstTracked+b%maxTracked)) == 0 {
			continue
		}
		if a.F.Refs[a.K].Target < t {
			o.From = append(o.From, a)
		} else {
			o.Start = true
		}
	}
	if with&(1<<firstTracked-1) != 0 {
		o.Elsewhere = true
	}
}

// compares are the provenances of the two operands that step i compares.
func (w *trace) compares(i int) (x, y provenance, ok bool) {
	s := &w.steps[i]
	if s.bit != 0 && s.in.Map == 0 && (s.in.Op == 0x3d || s.in.Op == 0x81 && s.in.Reg() == 7) {
		rm := rax // with a constant
		if s.in.Op == 0x81 {
			_, rm = s.in.Named(s.code)
		}
		if rm < 0 {
			return s.bit, fromElsewhere, true
		}
		return s.bit, w.before(i, rm), true
	}
	if s.in.Map != 0 || s.in.Op != 0x39 && s.in.Op != 0x3b || !s.in.Wide || !s.in.HasModRM {
		return 0, 0, false
	}
	reg, rm := s.in.Named(s.code)
	x, y = w.before(i, reg), fromElsewhere
	if rm >= 0 {
		y = w.before(i, rm)
	} else if at, ok := w.states[i].slot(&s.in, s.code); ok && at < w.exposed {
		if o := w.slots[at] | w.strays; o != 0 {
			y = o
		}
	}
	return x, y, true
}

// uses says that step i does more with a value from mine than move it between
// registers and the frame.
func (w *trace) uses(i int, mine provenance) bool {
	s, t := &w.steps[i], &w.states[i]
	in := &s.in
	if in.IsCall() || in.IsJump() && (in.IsIndirect() || len(s.next) == 0) || in.IsRet() {
		return w.passed(i)&mine != 0
	}
	if s.mem&mine != 0 && in.Op != 0x8d {
		return true
	}
	if in.HasMemory() && !(in.Map == 0 && in.Op == 0x8d) && !(in.Map == 1 && in.Op == 0x1f) {
		if in.Base >= 0 && in.Base < 16 && t.regs[in.Base]&mine != 0 || in.Index >= 0 && in.Index < 16 && t.regs[in.Index]&mine != 0 {
			return true
		}
	}
	return w.passed(i)&mine != 0
}

// passed is what step i hands to a call, or stores outside of the frame.
func (w *trace) passed(i int) (o provenance) {
	s, t := &w.steps[i], &w.states[i]
	in := &s.in
	if in.IsCall() || in.IsJump() && (in.IsIndirect() || len(s.next) == 0) {
		for _, r := range argumentRegisters {
			o |= t.regs[r]
		}
		return o
	}
	if in.Map == 0 && in.Op == 0xc7 && s.bit != 0 { // stored somewhere
		if _, rm := in.Named(s.code); rm < 0 {
			if _, own := t.slot(in, s.code); !own {
				return s.bit
			}
		}
		return 0
	}
	if in.Map == 0 && in.Op == 0x89 { // stored somewhere
		reg, rm := in.Named(s.code)
		if _, own := t.slot(in, s.code); rm < 0 && !own {
			o = t.regs[reg]
		}
	}
	if in.Map == 1 && in.Op == 0x6e || in.Vector { // into a vector register
		if _, rm := in.Named(s.code); rm >= 0 {
			o |= t.regs[rm]
		}
	}
	return o
}

// returned is what step i returns, where a function leaves that.
func (w *trace) returned(i int) provenance {
	if !w.steps[i].in.IsRet() {
		return 0
	}
	return w.states[i].regs[rax]
}

// SameRoom says whether the object at before, which ends at t, has its like in
// the base image directly before base: then base is its end there, whoever
// walks to it.
func (d *Diff) SameRoom(before, t, base image.Addr) bool {
	c := d.Base
	i, _ := slices.BinarySearch(c.heads, base)
	if i == 0 || base-c.heads[i-1] != t-before {
		return false
	}
	n := int(t - before)
	return bytes.Equal(c.Bytes(c.heads[i-1], n), d.Fixed.Bytes(before, n)) && len(c.RelocsIn(c.heads[i-1], base)) == 0
}

// TakenIn says whether a function that differs, or a pointer in the data of the
// fixed image, holds an address in [lo, hi).
func (d *Diff) TakenIn(lo, hi image.Addr) bool {
	for i, f := range d.Fixed.Funcs {
		if d.state[i] != Changed && d.state[i] != New {
			continue
		}
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == Lea && r.Target >= lo && r.Target < hi {
				return true
			}
		}
	}
	return slices.ContainsFunc(d.Fixed.Relocs, func(r image.Reloc) bool {
		p, ok := Pointee(&r)
		return ok && p >= lo && p < hi
	})
}
