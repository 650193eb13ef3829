package diff

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// held is what a register holds, as far as code without loops tells.
type held struct {
	is  heldKind
	n   int64
	off int64 // what was added to an address, an argument or what is not known
	// from is where heldLoaded was loaded by way of: an argument, negative and counted
	// from -1, or the address of a variable; 0: it is not known.
	from int64
}

type heldKind uint8

const (
	unheld       heldKind = iota
	heldNumber            // n
	heldArgument          // of the function: the number n of its arguments
	heldAddress           // of what is at n
	heldLoaded            // what was n bytes behind where some register led
	heldContent           // what was at n
)

type holding [16]held

// arguments of a call, as registers hold them.
func (r *holding) argument(n int) held {
	if n < 0 || n >= len(argumentRegisters) {
		return held{}
	}
	return r[argumentRegisters[n]]
}

// handed goes through f once, from top to bottom, and shows each instruction with
// what the registers hold before it. What arrives by a branch forward is believed
// where all agree; branches back are not followed.
func (d *Diff) handed(c *Code, f *Func, visit func(t *token, regs *holding)) {
	d.handedIn(c, f, nil, visit)
}

// handedIn is handed with the loops of f: where one begins, registers that something
// in it changes hold nothing that is known, so that what is known goes for each round.
func (d *Diff) handedIn(c *Code, f *Func, rounds []loop, visit func(t *token, regs *holding)) {
	code := c.Text(f)
	var regs holding
	if !f.Fragment {
		for n, r := range argumentRegisters {
			regs[r] = held{is: heldArgument, n: int64(n)}
		}
	}
	var pushed held
	joins := map[uint32]holding{}
	live := true
	all := d.tokensOf(c, f)
	for i := range all {
		t := &all[i]
		if other, ok := joins[t.at]; ok {
			if live {
				regs.meet(&other)
			} else {
				regs = other
			}
			live = true
		}
		in, b := &t.in, code[t.at:]
		if in.Len == 0 {
			regs, live = holding{}, true
			continue
		}
		if !live {
			regs = holding{}
		}
		if l := loopAt(rounds, t.at); l != nil && l.heads[t.at] {
			regs.forget(l.writes)
			pushed = held{}
		}
		live = in.FallsThrough()
		visit(t, &regs)
		switch {
		case in.IsCall():
			regs.forget(arch.CallClobbered)
		case in.Rel:
			if to := int64(t.at) + int64(in.Len) + in.Imm(b); to > int64(t.at) && to < int64(len(code)) {
				r := regs
				if other, ok := joins[uint32(to)]; ok {
					r.meet(&other)
				}
				joins[uint32(to)] = r
			}
		default:
			regs.execute(f, t, b, &pushed)
		}
	}
}

// meet keeps what both hold.
func (r *holding) meet(other *holding) {
	for i := range r {
		if r[i] != other[i] {
			r[i] = held{}
		}
	}
}

func (r *holding) set(n int, h held) {
	if n >= 0 && n < len(r) {
		r[n] = h
	}
}

// execute changes r to what holds after t, which is no branch.
func (r *holding) execute(f *Func, t *token, code []byte, pushed *held) {
	in := &t.in
	if in.Vector || in.Map >= 2 {
		r.forget(in.Writes(code))
		return
	}
	reg, rm := in.Named(code)
	if in.Map == 1 {
		r.executeTwoByte(in, code, reg, rm)
		return
	}
	number := held{}
	switch {
	case t.ref < 0 && in.ImmLen > 0:
		number = held{is: heldNumber, n: t.imm}
	case t.ref >= 0:
		number = held{is: heldAddress, n: int64(f.Refs[t.ref].Leads())}
	}
	switch op := in.Op; {
	case op >= 0xb8 && op <= 0xbf:
		if in.ImmLen == 4 && number.is == heldNumber {
			number.n = int64(uint32(number.n))
		}
		r.set(reg, number)
	case op == 0xc7:
		r.set(rm, number)
	case op == 0x68 || op == 0x6a:
		*pushed = number
	case op >= 0x58 && op <= 0x5f:
		r.set(reg, *pushed)
		*pushed = held{}
	case op >= 0x50 && op <= 0x57:
		*pushed = r[reg&15]
	case op == 0x89 && rm >= 0:
		r.set(rm, r[reg&15])
	case (op == 0x8b || op == 0x63) && rm >= 0:
		r.set(reg, r[rm])
	case op == 0x8b:
		h := held{}
		switch {
		case t.ref >= 0 && in.Index == arch.NoReg && (in.Base == arch.RIP || in.Base == arch.NoReg):
			h = held{is: heldContent, n: number.n}
		case t.ref < 0 && in.Index == arch.NoReg && in.Base >= 0 && in.Base < 16 && in.Base != rsp && (in.Base != rbp || t.disp >= 0):
			h = held{is: heldLoaded, n: int64(t.disp), from: r[in.Base].origin()}
		}
		r.set(reg, h)
	case (op == 0x31 || op == 0x33) && reg == rm:
		r.set(reg, held{is: heldNumber})
	case op == 0x8d:
		h := held{}
		switch {
		case t.ref >= 0 && in.Index == arch.NoReg:
			h = number
		case t.ref < 0 && in.Index == arch.NoReg && in.Base >= 0 && in.Base < 16 && in.Base != rsp && (in.Base != rbp || t.disp >= 0):
			h = r[in.Base].plus(int64(t.disp))
		}
		r.set(reg, h)
	case op == 0x81 || op == 0x83:
		switch {
		case rm < 0 || in.Reg() == 7:
		case in.Reg() == 0:
			r.set(rm, r[rm].plus(t.imm))
		case in.Reg() == 5:
			r.set(rm, r[rm].plus(-t.imm))
		default:
			r.set(rm, held{})
		}
	default:
		r.forget(in.Writes(code))
	}
}

// forget is for registers that hold something else now.
func (r *holding) forget(which arch.Registers) {
	for n := range r {
		if which.Has(n) {
			r[n] = held{}
		}
	}
}

// plus is h with a number added: of an argument with a header it is still told that
// it is one.
func (h held) plus(n int64) held {
	if h.is == heldNumber {
		h.n += n
	} else {
		h.off += n
	}
	return h
}

// origin is where h comes from, as held.from says it.
func (h held) origin() int64 {
	switch h.is {
	case heldArgument:
		return -1 - h.n
	case heldAddress, heldContent:
		return h.n
	case heldLoaded:
		return h.from
	}
	return 0
}

// executeTwoByte is for opcodes behind 0F.
func (r *holding) executeTwoByte(in *arch.Inst, code []byte, reg, rm int) {
	if in.Op < 0x40 || in.Op > 0x4f {
		r.forget(in.Writes(code))
		return
	}
	// cmov: a least size is still an argument
	if reg >= 0 && r[reg].is != heldArgument && (rm < 0 || r[rm] != r[reg]) {
		h := held{}
		if rm >= 0 && r[rm].is == heldArgument {
			h = r[rm]
		}
		r.set(reg, h)
	}
}

// Handed says what an instruction is handed: a call its first two arguments, another
// one the memory it works on.
type Handed struct {
	At    uint32 // of the instruction in the function
	Inst  *arch.Inst
	Ref   int // index into Func.Refs, -1 for none
	First Given
	// Second is only told where it is a number.
	Second Given
	// Callee is where the pointer is that an indirect call, or jump, goes by: it is
	// known for operands in memory alone.
	Callee Given
	// Loop: it may be done several times in a call. What is known of what it is
	// handed goes for each time, but for what is loaded from memory.
	Loop bool
}

// Given is a number or a pointer, as far as it is known where that comes from.
type Given struct {
	Known    bool
	Number   bool       // Off is all
	Content  bool       // it was loaded, by way of what is said next
	Argument int        // of the function; from 1; 0: none
	Address  image.Addr // of a variable; 0: none
	Loaded   int64      // so far from where some register leads is the pointer
	Off      int64      // from the address, or from what else the pointer is
}

func (h held) told() Given {
	out := Given{Known: h.is != unheld, Off: h.off}
	switch h.is {
	case heldNumber:
		out.Number, out.Off = true, h.n
	case heldLoaded:
		out.Content, out.Loaded = true, h.n
	case heldContent:
		out.Content = true
	}
	if from := h.origin(); from < 0 {
		out.Argument = int(-from)
	} else {
		out.Address = image.Addr(from)
	}
	return out
}

// Handed lists all instructions of f in their order.
func (d *Diff) Handed(c *Code, f *Func) []Handed {
	var out []Handed
	rounds := d.loops(c, f)
	d.handedIn(c, f, rounds, func(t *token, regs *holding) {
		h := Handed{At: t.at, Inst: &t.in, Ref: int(t.ref), Loop: loopAt(rounds, t.at) != nil}
		is := regs.argument(0)
		if t.in.IsCall() || t.in.IsJump() {
			if s := regs.argument(1); s.is == heldNumber {
				h.Second = s.told()
			}
			if in := &t.in; in.IsIndirect() && t.ref < 0 && in.Index == arch.NoReg && in.HasMemory() && in.Base >= 0 && in.Base < 16 && in.Base != rsp {
				h.Callee = regs[in.Base].plus(int64(t.disp)).told()
			}
		} else {
			is = held{}
			switch {
			case t.ref >= 0:
				is = held{is: heldAddress, n: int64(f.Refs[t.ref].Leads())}
			case t.in.HasMemory() && t.in.Base >= 0 && t.in.Base < 16 && t.in.Base != rsp:
				is = regs[t.in.Base].plus(int64(t.disp))
			}
		}
		h.First = is.told()
		out = append(out, h)
	})
	return out
}
