package arch

import "encoding/binary"

// Reg is the reg field of ModRM without its extension: the digit of a group.
func (in Inst) Reg() byte { return in.ModRM >> 3 & 7 }

// HasMemory reports an operand in memory that ModRM names (lea's too).
func (in Inst) HasMemory() bool {
	// Moves to control and debug registers ignore the mod field.
	return in.HasModRM && in.ModRM < 0xc0 && (in.Map != 1 || in.Vector || in.Op&0xfc != 0x20)
}

// IsCall reports call in every form.
func (in Inst) IsCall() bool {
	if in.Map != 0 {
		return false
	}
	return in.Op == 0xe8 || in.Op == 0xff && (in.Reg() == 2 || in.Reg() == 3)
}

// IsJump reports an unconditional jmp in every form.
func (in Inst) IsJump() bool {
	if in.Map != 0 {
		return false
	}
	return in.Op == 0xe9 || in.Op == 0xeb || in.Op == 0xff && (in.Reg() == 4 || in.Reg() == 5)
}

// IsCond reports a branch that may fall through: jcc, loop, jrcxz, xbegin.
func (in Inst) IsCond() bool { return in.Rel && !in.IsCall() && !in.IsJump() }

// IsIndirect reports a call or jmp through a register or memory.
func (in Inst) IsIndirect() bool {
	return in.Map == 0 && in.Op == 0xff && in.Reg() >= 2 && in.Reg() <= 5
}

// IsRet reports ret, far ret and iret.
func (in Inst) IsRet() bool {
	if in.Map != 0 {
		return false
	}
	switch in.Op {
	case 0xc2, 0xc3, 0xca, 0xcb, 0xcf:
		return true
	}
	return false
}

// IsTrap reports the instructions that compilers put where control must not
// arrive: ud2 and its kin, hlt, int3.
func (in Inst) IsTrap() bool {
	switch in.Map {
	case 0:
		return in.Op == 0xf4 || in.Op == 0xcc
	case 1:
		return !in.Vector && (in.Op == 0x0b || in.Op == 0xb9 || in.Op == 0xff)
	}
	return false
}

// FallsThrough says whether the next instruction can run after this one. A
// call is taken to return.
func (in Inst) FallsThrough() bool { return !in.IsJump() && !in.IsRet() && !in.IsTrap() }

// Target is the address that a direct branch or a RIP-relative operand refers
// to. addr is the address of the instruction and code starts with its bytes.
// ok is false when there is neither.
func (in Inst) Target(addr uint64, code []byte) (target uint64, ok bool) {
	end := addr + uint64(in.Len)
	switch {
	case in.Rel:
		return end + uint64(in.Imm(code)), true
	case in.Base == RIP:
		t := end + uint64(in.Disp(code))
		if in.Addr32 {
			t = uint64(uint32(t))
		}
		return t, true
	}
	return 0, false
}

// Disp is the displacement, sign-extended, from the bytes that start with this
// instruction; 0 when there is none. That of EVEX is not scaled.
func (in Inst) Disp(code []byte) int64 { return signed(code, in.DispOff, in.DispLen) }

// Imm is the immediate or branch distance, sign-extended, from the bytes that
// start with this instruction; 0 when there is none.
func (in Inst) Imm(code []byte) int64 { return signed(code, in.ImmOff, in.ImmLen) }

func signed(code []byte, off, size uint8) int64 {
	if int(off)+int(size) > len(code) {
		return 0 // not the bytes this was decoded from
	}
	b := code[off:]
	switch size {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 3: // enter: unsigned imm16, then imm8
		return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case 8:
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}
