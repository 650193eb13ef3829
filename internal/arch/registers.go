package arch

// Which general registers does an instruction name, and which does it change?
// Who follows what registers hold forgets all that Writes tells.

// The general registers by number.
const (
	RAX = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

// Registers is a set of general registers: bit n is register n.
type Registers uint16

// AllRegisters is what may change where nothing is known.
const AllRegisters Registers = 0xffff

// CallClobbered are those that the psABI lets a call change.
const CallClobbered Registers = 1<<RAX | 1<<RCX | 1<<RDX | 1<<RSI | 1<<RDI | 1<<R8 | 1<<R9 | 1<<R10 | 1<<R11

// Has says whether register n is in s.
func (s Registers) Has(n int) bool { return n >= 0 && n < 16 && s>>n&1 != 0 }

func registers(list ...int) (s Registers) {
	for _, n := range list {
		if n >= 0 {
			s |= 1 << n
		}
	}
	return s
}

// Named are the registers that the fields of ModRM name, or the one in the
// opcode (as reg); -1: none, or memory. What a field is for depends on the
// instruction: it may be a part of the opcode, or mean a vector register. The
// extensions of VEX and EVEX are not among the results. code starts with the
// instruction.
func (in Inst) Named(code []byte) (reg, rm int) {
	if !in.HasModRM {
		if in.Map == 0 && (in.Op >= 0x50 && in.Op <= 0x5f || in.Op >= 0x90 && in.Op <= 0x97 || in.Op >= 0xb0 && in.Op <= 0xbf) ||
			in.Map == 1 && in.Op >= 0xc8 && in.Op <= 0xcf {
			return int(in.Op&7) | in.rex(code)<<3&8, -1
		}
		return -1, -1
	}
	rex := in.rex(code)
	reg = int(in.ModRM>>3&7) | rex<<1&8
	if in.ModRM>>6 != 3 {
		return reg, -1
	}
	return reg, int(in.ModRM&7) | rex<<3&8
}

// rex is the REX prefix, 0 for none: it is directly before the opcode.
func (in Inst) rex(code []byte) int {
	if in.Vector {
		return 0
	}
	at := int(in.Len) // of what follows the opcode
	if in.ImmLen > 0 {
		at = int(in.ImmOff)
	}
	if in.DispLen > 0 {
		at = min(at, int(in.DispOff))
	}
	if in.HasModRM {
		at--
		if in.ModRM>>6 != 3 && in.ModRM&7 == 4 {
			at-- // SIB
		}
	}
	before := at - 2 // the opcode has one byte, and 0F, 0F38 or 0F3A before it
	switch in.Map {
	case 1:
		before--
	case 2, 3:
		before -= 2
	}
	if before >= 0 && before < len(code) && code[before]&0xf0 == 0x40 {
		return int(code[before])
	}
	return 0
}

// Writes are the general registers that an instruction may change: all, where
// it is not known. A call changes what the psABI lets it. What push, pop and
// call do to the stack pointer is not told. code starts with the instruction.
func (in Inst) Writes(code []byte) Registers {
	reg, rm := in.Named(code)
	switch {
	case in.Len == 0:
		return AllRegisters
	case in.Vector:
		return in.writesVector(reg, rm)
	case in.IsCall():
		return CallClobbered
	case in.IsJump(), in.IsRet(), in.IsTrap():
		return 0
	}
	switch in.Map {
	case 0:
		return in.writesPlain(code, reg, rm)
	case 1:
		return in.writesTwoByte(code, reg, rm)
	case 2:
		if in.Op >= 0xf0 { // movbe, crc32, adcx
			return registers(reg, rm)
		}
		return 0
	case 3:
		if in.Op >= 0x14 && in.Op <= 0x17 { // pextrb and its kin
			return registers(rm)
		}
		if in.Op >= 0x60 && in.Op <= 0x63 { // pcmpestri and its kin
			return registers(RCX)
		}
		return 0
	}
	return AllRegisters
}

// bytes is the register whose 8 bits a field names: without REX 4 to 7 are ah to bh.
func (in Inst) bytes(code []byte, n int) Registers {
	if n >= 4 && n < 8 && in.rex(code) == 0 {
		n -= 4
	}
	return registers(n)
}

func (in Inst) writesPlain(code []byte, reg, rm int) Registers {
	switch op := in.Op; {
	case op < 0x40 && op&7 < 6:
		switch compares := op>>3 == 7; {
		case compares:
			return 0
		case op&7 >= 4:
			return registers(RAX)
		case op&7 == 0:
			return in.bytes(code, rm)
		case op&7 == 2:
			return in.bytes(code, reg)
		case op&7 == 1:
			return registers(rm)
		}
		return registers(reg)
	case op >= 0x50 && op <= 0x57, op == 0x68, op == 0x6a, op == 0x90 && reg == 0, op == 0x9c: // push, nop
		return 0
	case op >= 0x58 && op <= 0x5f, op == 0x63, op == 0x69, op == 0x6b, op == 0x8b, op == 0x8c, op == 0x8d, op >= 0xb8 && op <= 0xbf:
		if op == 0x8c { // from a segment register
			return registers(rm)
		}
		return registers(reg)
	case op >= 0x70 && op <= 0x7f, op == 0xe3, op == 0x9b, op == 0x9d, op == 0x9e, op >= 0xf5 && op <= 0xf9 && op != 0xf6 && op != 0xf7, op == 0xfc, op == 0xfd:
		return 0 // branches; flags
	case op == 0x80:
		if in.Reg() == 7 {
			return 0
		}
		return in.bytes(code, rm)
	case op == 0x81, op == 0x83:
		if in.Reg() == 7 {
			return 0
		}
		return registers(rm)
	case op == 0x84, op == 0x85, op == 0xa8, op == 0xa9: // test
		return 0
	case op == 0x86:
		return in.bytes(code, reg) | in.bytes(code, rm)
	case op == 0x87:
		return registers(reg, rm)
	case op >= 0x90 && op <= 0x97:
		return registers(reg, RAX)
	case op == 0x88, op == 0xc6, op == 0xc0, op == 0xd0, op == 0xd2:
		return in.bytes(code, rm)
	case op == 0x8a, op >= 0xb0 && op <= 0xb7:
		return in.bytes(code, reg)
	case op == 0x89, op == 0x8f, op == 0xc1, op == 0xc7, op == 0xd1, op == 0xd3:
		return registers(rm)
	case op == 0x98, op == 0x9f, op == 0xa0, op == 0xa1, op == 0xd7, op == 0xe4, op == 0xe5, op == 0xec, op == 0xed: // cbw, lahf, mov, xlat, in
		return registers(RAX)
	case op == 0x99:
		return registers(RDX)
	case op >= 0xa4 && op <= 0xa7, op >= 0xaa && op <= 0xaf, op >= 0x6c && op <= 0x6f: // string instructions
		return registers(RAX, RCX, RSI, RDI)
	case op == 0xa2, op == 0xa3:
		return 0
	case op == 0xc8, op == 0xc9:
		return registers(RBP, RSP)
	case op >= 0xd8 && op <= 0xdf: // fnstsw
		return registers(RAX)
	case op >= 0xe0 && op <= 0xe2:
		return registers(RCX)
	case op == 0xf6, op == 0xf7:
		switch {
		case in.Reg() < 2:
			return 0
		case in.Reg() >= 4:
			return registers(RAX, RDX)
		case op == 0xf6:
			return in.bytes(code, rm)
		}
		return registers(rm)
	case op == 0xfe:
		return in.bytes(code, rm)
	case op == 0xff:
		if in.Reg() < 2 {
			return registers(rm)
		}
		return 0
	}
	return AllRegisters
}

// writesTwoByte is for opcodes behind 0F: most of them are about other registers.
func (in Inst) writesTwoByte(code []byte, reg, rm int) Registers {
	switch op := in.Op; {
	case in.IsCond(), op == 0x0d, op >= 0x10 && op <= 0x1f, op >= 0x28 && op <= 0x2b, op == 0x2e, op == 0x2f,
		op >= 0x51 && op <= 0x76, op == 0x77, op == 0x7c, op == 0x7d, op == 0x7f,
		op == 0xa3, op == 0xc2, op == 0xc3, op == 0xc4, op == 0xc6, op >= 0xd0 && op != 0xd7:
		if op == 0x1e { // rdssp, or a hint
			return registers(rm)
		}
		return 0
	case op == 0x2c, op == 0x2d, op >= 0x40 && op <= 0x50, op == 0xaf, op >= 0xb6 && op <= 0xb8, op >= 0xbc && op <= 0xbf,
		op == 0xc5, op == 0xd7, op == 0x02, op == 0x03:
		return registers(reg)
	case op >= 0x90 && op <= 0x9f:
		return in.bytes(code, rm)
	case op == 0xb0:
		return registers(RAX) | in.bytes(code, rm)
	case op == 0xb1:
		return registers(RAX, rm)
	case op == 0xc0:
		return in.bytes(code, reg) | in.bytes(code, rm)
	case op == 0xc1:
		return registers(reg, rm)
	case op == 0x7e, op == 0xa4, op == 0xa5, op == 0xab, op == 0xac, op == 0xad, op == 0xae, op == 0xb3, op == 0xba, op == 0xbb:
		return registers(rm) // with ae: rdfsbase
	case op == 0xc7: // cmpxchg16b; rdrand
		return registers(RAX, RDX, rm)
	case op >= 0xc8 && op <= 0xcf:
		return registers(reg)
	case op == 0x05:
		return registers(RAX, RCX, R11)
	case op == 0xa2:
		return registers(RAX, RBX, RCX, RDX)
	case op == 0x31:
		return registers(RAX, RDX)
	}
	return AllRegisters
}

// writesVector: few such instructions write general registers; which of the
// fields names it depends on the instruction, and VEX extends it.
func (in Inst) writesVector(reg, rm int) Registers {
	switch {
	case in.Map == 1 && (in.Op == 0x2c || in.Op == 0x2d || in.Op == 0x50 || in.Op >= 0x78 && in.Op <= 0x79 || in.Op == 0x7e || in.Op >= 0x92 && in.Op <= 0x93 || in.Op == 0xc5 || in.Op == 0xd7):
		out := registers(reg, rm)
		return out | out<<8
	case in.Map == 3 && in.Op >= 0x60 && in.Op <= 0x63:
		return registers(RCX)
	case in.Map >= 2 && in.Op >= 0xf0, in.Map == 3 && in.Op >= 0x14 && in.Op <= 0x17, in.Map > 3:
		return AllRegisters
	}
	return 0
}
