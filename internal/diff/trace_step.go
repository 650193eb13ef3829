package diff

import (
	"hotpatch/internal/arch"
)

// execute changes s to what holds after an instruction. Instructions that are
// not listed may have changed any register.
func (w *trace) execute(p *step, s *state) {
	in := &p.in
	reg, rm := in.Named(p.code)
	switch {
	case in.Len == 0:
		return
	case in.Map == 0 && !in.Vector:
		if !w.executePlain(p, s, reg, rm) {
			s.blur()
		}
	case in.Map == 1 && !in.Vector:
		executeTwoByte(p, s, reg, rm)
	default:
		s.lose(in.Writes(p.code))
	}
}

// blur: every register may hold something else now.
func (s *state) blur() { s.lose(arch.AllRegisters) }

// lose is for registers that may hold something else now.
func (s *state) lose(which arch.Registers) {
	for r := range s.regs {
		if which.Has(r) {
			s.also(r, fromElsewhere)
		}
	}
}

func (s *state) set(r int, o provenance) {
	if r < 0 {
		return
	}
	if r == rsp && o != fromStack {
		s.depth = lostDepth
	}
	s.regs[r] = o
}

// also: the register may keep what it has.
func (s *state) also(r int, o provenance) {
	if r >= 0 && r != rsp {
		s.regs[r] |= o
	}
}

// sum is the provenance of an address with something added. Of two values one is a
// distance; what is known to come from somewhere is the address.
func sum(x, y provenance) provenance {
	switch {
	case x == fromElsewhere:
		return y
	case y == fromElsewhere:
		return x
	}
	return x | y
}

// executePlain is for one-byte opcodes; false: not understood.
func (w *trace) executePlain(p *step, s *state, reg, rm int) bool {
	in := &p.in
	op := in.Op
	switch {
	case in.IsCall():
		w.call(p, s)
	case in.IsJump(), op >= 0x70 && op <= 0x7f, op == 0xe3, in.IsRet(), in.IsTrap(), op == 0x90 && reg == rax:
	case op == 0x8d:
		w.lea(p, s, reg)
	case op == 0x89:
		w.store(p, s, rm, w.moved(s.regs[max(reg, 0)]))
	case op == 0x8b:
		s.set(reg, w.load(p, s, rm))
	case op >= 0x50 && op <= 0x57:
		w.push(s, s.regs[reg])
	case op >= 0x58 && op <= 0x5f:
		s.set(reg, fromElsewhere)
		if reg != rsp {
			s.move(8)
		}
	case op == 0x68 || op == 0x6a || op == 0x9c || op == 0xff && in.Reg() == 6:
		w.push(s, p.taken())
	case op == 0x81 || op == 0x83:
		w.immediate(p, s, rm)
	case op < 0x40 && op&7 < 6:
		w.arithmetic(p, s, reg, rm)
	case op >= 0xb8 && op <= 0xbf:
		s.set(reg, p.taken())
	case op == 0x63, op == 0x69, op == 0x6b:
		s.set(reg, fromElsewhere)
	case op == 0xc7:
		w.store(p, s, rm, p.taken())
	case op >= 0xb0 && op <= 0xb7, op == 0x8a:
		s.bytes(p, reg)
	case op == 0x88, op == 0xc6, op == 0xfe, op == 0x80 && in.Reg() != 7, op == 0xc0, op == 0xd0, op == 0xd2, op == 0xf6 && in.Reg() < 4 && in.Reg() >= 2:
		s.bytes(p, rm)
	case op == 0x80:
	case op == 0x86:
		s.bytes(p, reg)
		s.bytes(p, rm)
	case op == 0x87 || op >= 0x90 && op <= 0x97:
		if op != 0x87 {
			rm = rax
		}
		s.also(reg, fromElsewhere|s.regs[max(rm, 0)])
		s.also(rm, fromElsewhere|s.regs[max(reg, 0)])
	case op == 0x84 || op == 0x85 || op == 0xa8 || op == 0xa9:
	case op == 0xc1 || op == 0xd1 || op == 0xd3:
		s.set(rm, fromElsewhere)
	case op == 0xf6 || op == 0xf7:
		switch {
		case in.Reg() >= 4:
			s.set(rax, fromElsewhere)
			s.set(rdx, fromElsewhere)
		case in.Reg() >= 2:
			s.also(rm, fromElsewhere)
		}
	case op == 0xff && in.Reg() < 2: // inc, dec
	case op >= 0xd8 && op <= 0xdf:
		s.also(rax, fromElsewhere) // fnstsw
	case op == 0x98, op == 0xa1: // a1: from an absolute address
		s.set(rax, fromElsewhere)
	case op == 0xa2, op == 0xa3: // to one
	case op == 0x99:
		s.set(rdx, fromElsewhere)
	case op >= 0xa4 && op <= 0xa7 || op >= 0xaa && op <= 0xaf: // string instructions
		s.set(rcx, fromElsewhere)
		s.also(rax, fromElsewhere)
	default:
		if op == 0xc9 || op == 0xc8 || op == 0x8f { // leave, enter, pop to memory
			s.depth = lostDepth
		}
		return false
	}
	return true
}

// taken is the provenance of an immediate.
func (p *step) taken() provenance {
	if p.bit != 0 {
		return p.bit
	}
	return fromElsewhere
}

// bytes: an instruction writes the 8-bit register that a field names: without
// REX 4 to 7 are ah to bh.
func (s *state) bytes(p *step, r int) {
	if r >= 4 && r < 8 && !p.rex() {
		r -= 4
	}
	s.also(r, fromElsewhere)
}

// rex says whether the instruction has a REX prefix: the last before the opcode.
func (p *step) rex() bool {
	for _, b := range p.code[:p.in.Len] {
		switch {
		case b&0xf0 == 0x40:
			return true
		case b != 0x66 && b != 0xf2 && b != 0xf3 && b != 0x2e && b != 0x3e && b != 0x64 && b != 0x65 && b != 0xf0:
			return false
		}
	}
	return false
}

func (s *state) move(n int32) {
	if s.depth != lostDepth {
		s.depth += n
	}
}

// push stores o below the stack pointer.
func (w *trace) push(s *state, o provenance) {
	s.move(-8)
	w.keep(s.depth, o)
}

// keep stores o in a slot of the frame.
func (w *trace) keep(at int32, o provenance) {
	if at == lostDepth {
		if w.strays|o != w.strays {
			w.strays, w.changed = w.strays|o, true
		}
		return
	}
	if x := w.slots[at] | o; x != w.slots[at] {
		w.slots[at], w.changed = x, true
	}
}

// slot is the place in the frame that a memory operand means; false when it is
// none or not certain to be.
func (s *state) slot(in *arch.Inst, code []byte) (int32, bool) {
	if in.Base != rsp || in.Index != arch.NoReg || s.depth == lostDepth {
		return 0, false
	}
	return s.depth + int32(in.Disp(code)), true
}

// store is a mov to a register or to memory.
func (w *trace) store(p *step, s *state, rm int, o provenance) {
	if !p.in.Wide {
		o = fromElsewhere
	}
	if rm >= 0 {
		s.set(rm, o)
		return
	}
	at, ok := s.slot(&p.in, p.code)
	switch {
	case ok:
		w.keep(at, o)
	case p.in.Base == rsp:
		w.keep(lostDepth, o)
	case w.guests|o != w.guests && s.mayPointToFrame(&p.in):
		w.guests, w.changed = w.guests|o, true
	}
}

// mayPointToFrame: what a caller hands over cannot lead into this frame, nor
// can the address of a variable.
func (s *state) mayPointToFrame(in *arch.Inst) bool {
	if in.Base < 0 || in.Base > 15 {
		return in.Base != arch.RIP
	}
	return s.regs[in.Base]&(fromStack|fromElsewhere) != 0
}

// load is a mov from a register or from memory.
func (w *trace) load(p *step, s *state, rm int) provenance {
	if !p.in.Wide {
		return fromElsewhere
	}
	if rm >= 0 {
		return w.moved(s.regs[rm])
	}
	if p.slot != 0 {
		return p.slot
	}
	at, ok := s.slot(&p.in, p.code)
	if !ok {
		return w.behind(p, s)
	}
	o := w.slots[at] | w.strays
	if at >= w.exposed {
		o |= w.guests | fromElsewhere
	}
	return o
}

// behind is the provenance of what a load finds that is in no slot.
func (w *trace) behind(p *step, s *state) provenance {
	if !w.inside {
		return fromElsewhere
	}
	o := p.mem
	for _, r := range []int8{p.in.Base, p.in.Index} {
		switch {
		case r < 0 || r > 15:
		case s.regs[r]&fromStack != 0:
			o |= w.framed()
		default:
			o |= w.moved(s.regs[r])
		}
	}
	if o &= placeInside; o == 0 {
		o = fromElsewhere
	}
	return o
}

// framed is what an array of the frame may hold.
func (w *trace) framed() provenance {
	n := 0
	for _, o := range w.slots {
		if o&placeInside != 0 {
			n++
		}
	}
	if n > 1 {
		return w.arrays | placeInside
	}
	return w.arrays
}

// moved: what somebody moves is in use.
func (w *trace) moved(o provenance) provenance {
	if w.inside && o&placeLeft != 0 {
		o = o&^placeLeft | placeInside
	}
	return o
}

func (w *trace) lea(p *step, s *state, reg int) {
	in := &p.in
	switch {
	case in.Base == arch.RIP:
		o := p.bit
		if o == 0 {
			o = fromElsewhere
		}
		s.set(reg, o)
	case in.Base == arch.NoReg || p.mem != 0:
		o := p.mem | p.bit
		if o == 0 {
			o = fromElsewhere
		}
		s.set(reg, o)
	case in.Base == rsp && reg == rsp:
		s.move(int32(in.Disp(p.code)))
	default:
		o := s.regs[in.Base]
		if in.Index != arch.NoReg {
			o = sum(o, s.regs[in.Index&15])
		}
		if in.Base == rsp {
			at := int32(-1 << 30)
			if s.depth != lostDepth {
				at = s.depth + int32(in.Disp(p.code))
			}
			if at < w.exposed {
				w.exposed, w.changed = at, true
			}
		}
		s.set(reg, o)
	}
}

// immediate: add, or, adc, sbb, and, sub, xor, cmp with a constant.
func (w *trace) immediate(p *step, s *state, rm int) {
	switch p.in.Reg() {
	case 0, 5:
		if rm == rsp {
			n := int32(p.in.Imm(p.code))
			if p.in.Reg() == 5 {
				n = -n
			}
			s.move(n)
		} else if p.bit != 0 && p.in.Reg() == 0 && rm >= 0 {
			s.set(rm, sum(s.regs[rm], p.bit))
		}
	case 1:
		if p.bit == 0 && p.in.Imm(p.code) == -1 { // or $-1: whatever was there
			s.set(rm, fromElsewhere)
			return
		}
		s.also(rm, fromElsewhere)
	case 4:
		if rm == rsp {
			s.depth = lostDepth
		}
	case 7:
	default:
		s.also(rm, fromElsewhere)
	}
}

// arithmetic: the eight operations of two registers, or register and memory.
func (w *trace) arithmetic(p *step, s *state, reg, rm int) {
	in := &p.in
	if in.Op&7 >= 4 { // al, eax with a constant
		switch {
		case in.Op>>3 == 0 && p.bit != 0:
			s.set(rax, sum(s.regs[rax], p.bit))
		case in.Op>>3 != 7:
			s.also(rax, fromElsewhere)
		}
		return
	}
	if in.Op&1 == 0 {
		if to := rm; in.Op>>3 != 7 {
			if in.Op&2 != 0 {
				to = reg
			}
			s.bytes(p, to)
		}
		return
	}
	to, from := rm, reg
	if in.Op&2 != 0 {
		to, from = reg, rm
	}
	if to < 0 {
		return
	}
	o := fromElsewhere
	if from >= 0 {
		o = s.regs[from]
	}
	switch in.Op >> 3 {
	case 0: // add
		s.set(to, sum(s.regs[to], o))
	case 4, 5: // and, sub: an address, aligned or moved
		if to == rsp {
			s.depth = lostDepth
		}
	case 7: // cmp
	case 6: // xor
		if to == from {
			s.set(to, fromElsewhere)
			return
		}
		s.also(to, fromElsewhere)
	default:
		s.also(to, fromElsewhere)
	}
}

// call: the psABI lets it change what is not preserved. A function of the same
// image may be known to leave some of these alone (gcc's -fipa-ra).
func (w *trace) call(p *step, s *state) {
	for r := range s.regs {
		if !arch.CallClobbered.Has(r) {
			continue
		}
		if p.in.IsIndirect() || w.clobber && w.imported(p) {
			s.set(r, fromElsewhere)
		} else {
			s.also(r, fromElsewhere)
		}
	}
	s.set(rax, fromElsewhere)
}

// executeTwoByte is for 0F opcodes: most of them are about other registers.
func executeTwoByte(p *step, s *state, reg, rm int) {
	in := &p.in
	op := in.Op
	switch {
	case op >= 0x40 && op <= 0x4f: // cmov
		o := fromElsewhere
		if rm >= 0 {
			o = s.regs[rm]
		}
		s.also(reg, o)
	case op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf || op == 0xaf || op == 0xbc || op == 0xbd || op == 0xb8,
		op == 0x2c || op == 0x2d || op == 0xd7 || op == 0x50 || op >= 0xc8 && op <= 0xcf: // replaced
		s.set(reg, fromElsewhere)
	default:
		s.lose(in.Writes(p.code))
	}
}
