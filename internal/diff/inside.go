package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Who knows places inside of a function? Code may take the addresses of labels, and
// tables hold them. As long as the function alone uses these, and only to jump there,
// they go with its code. What keeps them in memory (bytecode that was translated to
// such addresses) leads into the old code for ever; and who finds its way by a table
// that many functions are in (where to go on after a fault) does not know new code.

// insides are the places inside of the functions of one image that its data holds.
type insides struct {
	c        *Code
	pointers []inside // by at
	words    []inside // distances in linker sets
	taken    []taking // by code
}

// taking is that a function takes the address of a place in the middle of one.
type taking struct {
	by *Func
	to image.Addr
}

// inside is that the data at a place leads into the middle of a function.
type inside struct {
	at, to image.Addr
}

// Insides looks for such places; never nil.
func (c *Code) Insides() *insides {
	s := &insides{c: c}
	for i := range c.Relocs {
		r := &c.Relocs[i]
		if p, ok := Pointee(r); ok && r.Sym == "" && c.within(p) {
			s.pointers = append(s.pointers, inside{r.At, p})
		}
	}
	slices.SortFunc(s.pointers, func(a, b inside) int { return compareAddr(a.at, b.at) })
	for _, g := range c.Funcs {
		for k := range g.Refs {
			if r := &g.Refs[k]; r.Kind == Lea && r.Class == image.Text && c.within(r.Target) {
				s.taken = append(s.taken, taking{g, r.Target})
			}
		}
	}
	for _, set := range c.Sections {
		if !isIdentifier(set.Name) || set.Class != image.ROData && set.Class != image.RelRO && !set.Class.Writable() {
			continue
		}
		at := set.Addr
		for to := range c.spread(set.Addr, set.Addr+set.Size, true) {
			if c.within(to) && c.startsInst(to) {
				s.words = append(s.words, inside{at, to})
			}
			at += 4
		}
	}
	return s
}

// within: a is in a function and not where it can be called.
func (c *Code) within(a image.Addr) bool {
	if c.ClassAt(a) != image.Text {
		return false
	}
	f := c.At(a)
	return f != nil && f.described() && (f.Lo != a || f.Fragment)
}

// startsInst: an instruction of its function starts at a.
func (c *Code) startsInst(a image.Addr) bool {
	f := c.At(a)
	starts := false
	c.scan(f, c.Text(f), func(at int, in *arch.Inst, _ []Ref) { starts = starts || f.Lo+image.Addr(at) == a })
	return starts
}

// Others says who else goes by places inside of f, which has parts; "" for nobody.
func (s *insides) Others(f *Func, parts []*Func) string {
	all := append([]*Func{f}, parts...)
	mine := func(a image.Addr) bool { return slices.Contains(all, s.c.At(a)) }
	for _, w := range s.words {
		if mine(w.to) {
			return fmt.Sprintf("%s, which other code goes by, holds places inside of it", s.c.SectionAt(w.at).Name)
		}
	}
	o := &owned{s.c, all, map[image.Addr]bool{}}
	for _, p := range s.pointers {
		if mine(p.to) && !o.owns(p.at) {
			return fmt.Sprintf("a table at %#x, which other code goes by, holds places inside of it", uint64(p.at))
		}
	}
	for _, t := range s.taken {
		if mine(t.to) && !slices.Contains(all, t.by) {
			return fmt.Sprintf("%s takes the address of a place inside of it", t.by.Name())
		}
	}
	return ""
}

// owned tells the objects that one function alone uses.
type owned struct {
	c     *Code
	funcs []*Func
	known map[image.Addr]bool // by where the object starts
}

// start is where the object that holds a starts, as far as references tell.
func (o *owned) start(a image.Addr) image.Addr {
	k, ok := slices.BinarySearch(o.c.starts, a)
	s := o.c.SectionAt(a)
	switch {
	case ok:
		return a
	case k > 0 && o.c.starts[k-1] >= s.Addr:
		return o.c.starts[k-1]
	}
	return s.Addr
}

// owns: the functions refer to the object around a, straight or by way of another
// one of theirs, and nothing else does.
func (o *owned) owns(a image.Addr) bool {
	if o.c.SectionAt(a) == nil {
		return false
	}
	lo := o.start(a)
	if is, ok := o.known[lo]; ok {
		return is
	}
	o.known[lo] = true // while it is looked at: objects may lead to each other
	used := false
	is := func() bool {
		for _, g := range o.c.Funcs {
			for k := range g.Refs {
				r := &g.Refs[k]
				if t := r.Target; t < lo || t > a {
					continue
				}
				if !slices.Contains(o.funcs, g) {
					return false
				}
				used = true
			}
		}
		for i := range o.c.Relocs {
			r := &o.c.Relocs[i]
			if t, ok := Pointee(r); !ok || t < lo || t > a {
				continue
			}
			if r.Sym != "" || !o.owns(r.At) {
				return false
			}
			used = true
		}
		return used
	}()
	o.known[lo] = is
	return is
}

// Keeps says that f may put places inside of itself, or a table of them, where they
// outlive its call: into memory that is not of its frame, into what it returns or hands
// to others. What is only jumped to stays.
func (s *insides) Keeps(f *Func, parts []*Func) bool {
	all := append([]*Func{f}, parts...)
	mine := func(a image.Addr) bool { return slices.Contains(all, s.c.At(a)) && s.c.within(a) }
	o := &owned{s.c, all, map[image.Addr]bool{}}
	for _, p := range s.pointers {
		if mine(p.to) {
			o.owns(p.at)
		}
	}
	tables := func(a image.Addr) bool {
		sec := s.c.SectionAt(a)
		return sec != nil && s.c.ClassAt(a) != image.Text && o.known[o.start(a)]
	}
	n := 0
	number := func(kind Kind) func(*Func, int) int {
		return func(g *Func, k int) int {
			r := &g.Refs[k]
			if r.Kind == kind && (r.Class == image.Text && mine(r.Target) || tables(r.Target)) {
				n++
				return 0
			}
			return -1
		}
	}
	for _, g := range all {
		for k := range g.Refs {
			number(Lea)(g, k)
			number(Access)(g, k)
		}
	}
	if n == 0 {
		return false
	}
	var labels []image.Addr
	for _, p := range s.pointers {
		if mine(p.to) {
			labels = append(labels, p.to)
		}
	}
	w := traceInside(s.c, f, parts, number(Lea), number(Access), labels)
	for i := range w.steps {
		if w.states[i].seen && w.letsOut(i) {
			return true
		}
	}
	return w.lost
}

const (
	placeInside = provenance(1) << firstTracked
	// placeLeft is what a jump to a label has left in a register: maybe nobody reads it.
	placeLeft = placeInside << 1
)

// letsOut: step i may let a place inside of the function out of its registers and its frame.
func (w *trace) letsOut(i int) bool {
	p, s := &w.steps[i], &w.states[i]
	in := &p.in
	reg, _ := in.Named(p.code)
	handed := func(r int) bool { return s.regs[r]&placeInside != 0 }
	switch {
	case in.Len == 0:
		return false
	case in.IsRet():
		return handed(rax)
	case in.IsCall() || in.IsJump() && !in.IsIndirect() && len(p.next) == 0:
		return !w.fills(i) && slices.ContainsFunc(argumentRegisters[:], handed)
	case in.IsJump() || in.IsCond() || compares(in):
		return false
	case in.Vector || in.Map != 0:
		return w.takesVector(i) && !w.fills(i)
	case in.Op == 0xa4 || in.Op == 0xa5: // movs
		return s.holdsPlace(rsi) && !w.fills(i)
	case in.Op == 0xab: // stos
		return s.holdsPlace(rax) && !s.inFrame(rdi)
	case in.Op == 0xa3: // to an absolute address
		return s.holdsPlace(rax)
	case !in.HasMemory() || s.inFrame(int(in.Base)):
		return false
	case in.Op == 0xc7:
		return p.bit != 0
	case in.Op == 0x89 || in.Op == 0x87 || in.Op == 0x01:
		return in.Wide && s.holdsPlace(reg)
	}
	return false
}

// fills: step i copies places inside of the function to its frame, other than one
// from a register.
func (w *trace) fills(i int) bool {
	p, s := &w.steps[i], &w.states[i]
	in := &p.in
	switch {
	case in.Len == 0:
		return false
	case in.IsCall():
		switch w.callee(p) {
		case "memcpy", "memmove", "__memcpy_chk", "__memmove_chk":
			return s.holdsPlace(rsi) && s.inFrame(rdi)
		}
		return false
	case in.Vector || in.Map != 0:
		return w.takesVector(i) && w.storesToFrame(i)
	}
	return in.Map == 0 && (in.Op == 0xa4 || in.Op == 0xa5) && s.holdsPlace(rsi) && s.inFrame(rdi)
}

func (s *state) holdsPlace(r int) bool {
	return r >= 0 && s.regs[r]&(placeInside|placeLeft) != 0
}

// inFrame: what register r leads to is in the frame.
func (s *state) inFrame(r int) bool {
	return r == rsp || r >= 0 && r < len(s.regs) && s.regs[r]&fromStack != 0
}

// takesVector: step i takes places inside of the function into a vector register.
func (w *trace) takesVector(i int) bool {
	p, s := &w.steps[i], &w.states[i]
	_, rm := p.in.Named(p.code)
	if p.in.HasMemory() {
		return p.bit|p.slot|p.mem != 0 || p.in.Base >= 0 && int(p.in.Base) < len(s.regs) && s.holdsPlace(int(p.in.Base)) && p.in.Map == 1 && readsVector(p.in.Op)
	}
	return p.in.Map == 1 && p.in.Op == 0x6e && s.holdsPlace(rm)
}

// readsVector: movups, movlps, movhps, movaps, movdqa, movq and their kin from memory.
func readsVector(op byte) bool {
	switch op {
	case 0x10, 0x12, 0x16, 0x28, 0x6f, 0x7e, 0x6e:
		return true
	}
	return false
}

// storesToFrame: the next store of a vector register goes to the frame.
func (w *trace) storesToFrame(i int) bool {
	const near = 40
	for j := i; j < min(i+near, len(w.steps)); j++ {
		in := &w.steps[j].in
		if in.Map != 1 || !in.HasMemory() {
			continue
		}
		switch in.Op {
		case 0x11, 0x13, 0x17, 0x29, 0x7f, 0xd6, 0xe7:
			return w.states[j].inFrame(int(in.Base))
		}
	}
	return false
}
