package diff

import (
	"hotpatch/internal/arch"
)

// A function that returns nothing leaves in rax whatever it needed last: often
// the address where a loop ended. Only its callers know that it returns
// nothing: none of them looks at rax before something else is in it.

// returns says whether somebody may look at what f of the fixed image returns.
func (w *Walker) returns(f *Func) bool {
	if w.callers == nil {
		w.callers, w.returned = w.d.confines(), map[*Func]bool{}
	}
	yes, known := w.returned[f]
	if !known {
		yes = w.looksAt(f)
		w.returned[f] = yes
	}
	return yes
}

func (w *Walker) looksAt(f *Func) bool {
	sites := w.callers.callers[f]
	for _, s := range sites {
		t := w.callers.traceOf(s.f)
		if t == nil || t.lost {
			return true
		}
		i, ok := t.index[s.at]
		if !ok || !t.steps[i].in.IsCall() || t.readsRAX(i) {
			return true
		}
	}
	return len(sites) == 0 // not by calls alone
}

// readsRAX says whether what is in rax after the call at step i may be looked at.
func (w *trace) readsRAX(i int) bool {
	seen := map[int]bool{}
	work := append([]int(nil), w.steps[i].next...)
	for len(work) > 0 {
		j := work[len(work)-1]
		work = work[:len(work)-1]
		if seen[j] {
			continue
		}
		seen[j] = true
		s := &w.steps[j]
		switch killsRAX(&s.in, s.code) {
		case raxReplaced:
		case raxKept:
			if len(s.next) == 0 && !s.in.IsTrap() {
				return true // it leaves the function
			}
			work = append(work, s.next...)
		default:
			return true
		}
	}
	return false
}

type raxEffect uint8

const (
	raxRead     raxEffect = iota // or the instruction is not understood
	raxKept                      // neither looked at nor changed
	raxReplaced                  // changed without a look at it
)

// killsRAX says what an instruction does with rax, for the instructions that
// compilers put behind a call; the others count as a look at it.
func killsRAX(in *arch.Inst, code []byte) raxEffect {
	reg, rm := in.Named(code)
	inAddress := in.HasMemory() && (in.Base == rax || in.Index == rax)
	switch {
	case in.Len == 0 || in.Vector || inAddress:
		return raxRead
	case in.IsCall(): // direct, or through a slot; variable arguments set al first
		if in.IsIndirect() && !(in.HasMemory() && in.Base == arch.RIP) {
			return raxRead
		}
		return raxReplaced
	case in.IsCond(), in.IsJump() && !in.IsIndirect(), in.IsTrap(), in.Map == 0 && in.Op == 0x90, in.Map == 1 && (in.Op == 0x1e || in.Op == 0x1f):
		return raxKept
	case in.Map == 1:
		// movzx and movsx
		if (in.Op == 0xb6 || in.Op == 0xb7 || in.Op == 0xbe || in.Op == 0xbf) && in.HasMemory() {
			return written(reg, -1)
		}
		return raxRead
	case in.Map != 0:
		return raxRead
	}
	switch op := in.Op; {
	case op == 0x8d: // lea
		return written(reg, -1)
	case op == 0x8b || op == 0x63: // mov, movsxd
		return written(reg, rm)
	case op >= 0xb8 && op <= 0xbf: // mov of a constant
		return written(reg, -1)
	case (op == 0x31 || op == 0x33) && reg == rm: // xor of a register with itself
		return written(reg, -1)
	case op == 0xc7 && in.HasMemory(), op == 0xc6 && in.HasMemory(), (op == 0x80 || op == 0x81 || op == 0x83) && in.HasMemory():
		return raxKept
	case op == 0x89, op == 0x39, op == 0x3b, op == 0x85, op == 0x01, op == 0x03, op == 0x29, op == 0x2b, op == 0x21, op == 0x23, op == 0x09, op == 0x0b, op == 0x31, op == 0x33,
		op == 0x81, op == 0x83, op >= 0x50 && op <= 0x5f:
		if reg == rax && op >= 0x58 && op <= 0x5f { // pop
			return raxReplaced
		}
		if regIs(in, reg) == rax || rm == rax {
			return raxRead
		}
		return raxKept
	}
	return raxRead
}

// regIs is the register operand, -1 where the field is part of the opcode.
func regIs(in *arch.Inst, reg int) int {
	if in.Map == 0 && (in.Op == 0x81 || in.Op == 0x83) {
		return -1
	}
	return reg
}

// written: to is overwritten with what comes from another register, or from
// none.
func written(to, from int) raxEffect {
	switch {
	case from == rax:
		return raxRead
	case to == rax:
		return raxReplaced
	}
	return raxKept
}
