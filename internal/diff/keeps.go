package diff

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Keeps is a function of c that does something else with the address of a
// function of its image than to compare it or to hand it to an import in a
// register: it, or whom it hands it to, may put it into an object. nil: there is
// none. Tables that the link editor fills are no such objects.
//
// What cannot be followed counts as kept.
func (c *Code) Keeps() *Func {
	parts := joinParts(c)
	for _, f := range c.Funcs {
		if f.described() && !f.Fragment && c.keeps(f, parts[f]) {
			return f
		}
	}
	return nil
}

// addresses are the bits of tracked references in a provenance.
const addresses = ^(provenance(1)<<firstTracked - 1)

func (c *Code) keeps(f *Func, parts []*Func) bool {
	n := 0
	number := func(a image.Addr) int {
		if g := c.Entry(a); g == nil || g == f {
			return -1
		}
		n++
		return n - 1
	}
	taken := func(g *Func, k int) int {
		if g.Refs[k].Class != image.Text {
			return -1
		}
		return number(g.Refs[k].Target)
	}
	loaded := func(g *Func, k int) int { return number(c.constantPointer(g.Refs[k].Target)) }
	for _, g := range append([]*Func{f}, parts...) {
		for k := range g.Refs {
			switch g.Refs[k].Kind {
			case Lea:
				taken(g, k)
			case Access:
				loaded(g, k)
			}
		}
	}
	if n == 0 || n > maxTracked {
		return n > 0
	}
	n = 0
	w := traceLoads(c, f, parts, taken, loaded)
	if w.lost {
		return true
	}
	var compared provenance
	for i := range w.steps {
		if s := &w.steps[i]; compares(&s.in) {
			reg, rm := s.in.Named(s.code)
			compared |= w.address(i, reg) | w.address(i, rm)
		}
	}
	for i := range w.steps {
		if w.states[i].seen && w.keepsAt(i, compared) {
			return true
		}
	}
	return false
}

// address are the tracked addresses that register r may hold before step i.
func (w *trace) address(i, r int) provenance {
	if r < 0 {
		return 0
	}
	return w.before(i, r) & addresses
}

// keepsAt: step i may let a tracked address out of the registers of the function,
// other than into an import. Those that the function compares are left in
// registers that nobody reads (calls of the function that an object's table is
// expected to hold).
func (w *trace) keepsAt(i int, compared provenance) bool {
	s := &w.steps[i]
	in := &s.in
	reg, rm := in.Named(s.code)
	switch {
	case in.Len == 0 || compares(in):
		return false
	case in.IsRet():
		return w.address(i, rax)&^compared != 0
	case in.IsCall() || in.IsJump() && len(s.next) == 0:
		if w.imported(s) {
			return false
		}
		for _, r := range argumentRegisters {
			if w.address(i, r)&^compared != 0 {
				return true
			}
		}
		return false
	case in.IsJump() || in.IsCond():
		return false
	case s.slot != 0 && (in.Map != 0 || in.Op != 0x8b || !in.Wide):
		return true // something else than a load that is followed
	case in.Vector || in.Map != 0:
		return w.address(i, rm) != 0 && !(in.Map == 1 && in.Op >= 0x40 && in.Op <= 0x4f) // cmov
	case in.Op >= 0x50 && in.Op <= 0x57:
		return w.address(i, reg) != 0
	case !in.HasMemory():
		return false // to another register, where it is followed
	case in.Op == 0x8d || in.Op == 0x8b:
		return false
	}
	return s.bit != 0 || w.address(i, reg) != 0
}

// imported: step s leaves the image by a name, with a call or a jump.
func (w *trace) imported(s *step) bool {
	t, ok := s.in.Target(uint64(s.at), s.code)
	if !ok {
		return false
	}
	name := w.c.importName(w.c.ClassAt(image.Addr(t)), image.Addr(t))
	_, own := w.c.Dynamic(name)
	return name != "" && !own
}

// compares: cmp or test, which change nothing but flags.
func compares(in *arch.Inst) bool {
	if in.Map != 0 || in.Vector {
		return false
	}
	switch in.Op {
	case 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x84, 0x85, 0xa8, 0xa9:
		return true
	case 0x80, 0x81, 0x83:
		return in.Reg() == 7
	}
	return false
}
