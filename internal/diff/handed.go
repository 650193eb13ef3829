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
		live = in.FallsThrough()
		visit(t, &regs)
		switch {
		case in.IsCall():
			for _, r := range []int{rax, rcx, rdx, rsi, rdi, 8, 9, 10, 11} {
				regs[r] = held{}
			}
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
	reg, rm := gpr(in, code)
	switch {
	case in.Vector || in.Map >= 2:
		if in.Map >= 2 {
			r.set(reg, held{})
		}
		return
	case in.Map == 1:
		r.executeTwoByte(in, reg, rm)
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
	case op == 0x89, op == 0x88, op == 0x84, op == 0x85, op == 0x90:
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
	case op >= 0xa4 && op <= 0xa7 || op >= 0xaa && op <= 0xaf: // string instructions
		for _, k := range []int{rax, rcx, rsi, rdi} {
			r[k] = held{}
		}
	case reads(in):
	case op < 0x40 && op&7 < 2: // arithmetic: to the register or memory that rm names
		r.set(rm, held{})
	case op < 0x40 && op&7 < 4, op == 0x69, op == 0x6b, op == 0x8a:
		r.set(reg, held{})
	case op == 0xf6 || op == 0xf7:
		if in.Reg() >= 4 { // multiplications and divisions
			r[rax], r[rdx] = held{}, held{}
		} else {
			r.set(rm, held{})
		}
	case op == 0x80, op == 0xc0, op == 0xc1, op >= 0xd0 && op <= 0xd3, op == 0xfe, op == 0xff, op == 0x8f: // groups: reg is a part of the opcode
		r.set(rm, held{})
	case in.HasModRM:
		r.set(reg, held{})
		r.set(rm, held{})
	default:
		r[rax], r[rdx] = held{}, held{}
		r.set(reg, held{})
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

// executeTwoByte is for opcodes behind 0F: most of them are about other registers.
func (r *holding) executeTwoByte(in *arch.Inst, reg, rm int) {
	switch op := in.Op; {
	case op >= 0x40 && op <= 0x4f: // cmov: a least size is still an argument
		if reg >= 0 && r[reg].is != heldArgument && (rm < 0 || r[rm] != r[reg]) {
			h := held{}
			if rm >= 0 && r[rm].is == heldArgument {
				h = r[rm]
			}
			r.set(reg, h)
		}
	case op == 0x2c, op == 0x2d, op == 0x50, op == 0xd7, op == 0xaf, op >= 0xb6 && op <= 0xb8, op >= 0xbc && op <= 0xbf:
		r.set(reg, held{})
	case op == 0x7e, op >= 0x90 && op <= 0x9f, op == 0xa4, op == 0xa5, op == 0xac, op == 0xad, op == 0xab, op == 0xb3, op == 0xba, op == 0xbb:
		r.set(rm, held{})
	case op == 0xb0, op == 0xb1, op == 0xc0, op == 0xc1, op == 0xc7:
		r.set(reg, held{})
		r.set(rm, held{})
		r[rax], r[rdx] = held{}, held{}
	case op >= 0xc8 && op <= 0xcf:
		r.set(reg, held{})
	case op == 0x05, op == 0x31, op == 0xa2: // system call, rdtsc, cpuid
		for _, k := range []int{rax, rcx, rdx, rbx, 11} {
			r[k] = held{}
		}
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
	d.handed(c, f, func(t *token, regs *holding) {
		h := Handed{At: t.at, Inst: &t.in, Ref: int(t.ref)}
		is := regs.argument(0)
		if t.in.IsCall() || t.in.IsJump() {
			if s := regs.argument(1); s.is == heldNumber {
				h.Second = s.told()
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
