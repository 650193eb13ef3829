package diff

import "hotpatch/internal/arch"

// accessWidth is how many bytes the memory operand of an instruction spans. For
// instructions that it does not know it says more than that, never less. code
// starts with the instruction. Sizes: Intel SDM vol. 2.
func accessWidth(in *arch.Inst, code []byte) uint8 {
	switch {
	case in.Vector:
		return vectorWidth(in, code)
	case in.Map == 0:
		return plainWidth(in)
	case in.Map == 1:
		return extendedWidth(in, code)
	}
	return mediaWidth(in, 16)
}

// operandWidth is that of general registers.
func operandWidth(in *arch.Inst) uint8 {
	switch {
	case in.Wide:
		return 8
	case in.Size16:
		return 2
	}
	return 4
}

// wideOr4 is 8 with REX.W or its like, else 4.
func wideOr4(in *arch.Inst) uint8 {
	if in.Wide {
		return 8
	}
	return 4
}

// plainWidth is for opcodes of one byte.
func plainWidth(in *arch.Inst) uint8 {
	op := in.Op
	switch {
	case op < 0x40 && op&7 < 4, op >= 0x84 && op <= 0x8b, op == 0x80, op == 0x81, op == 0xc0, op == 0xc1, op >= 0xd0 && op <= 0xd3,
		op == 0xc6, op == 0xc7, op == 0xf6, op == 0xf7, op == 0xfe, op == 0xff && in.Reg() < 2: // the lowest bit tells bytes from the rest
		if op&1 == 0 {
			return 1
		}
		return operandWidth(in)
	case op == 0x69, op == 0x6b, op == 0x83:
		return operandWidth(in)
	case op == 0x63: // movsxd
		return 4
	case op >= 0xd8 && op <= 0xdf:
		return floatWidth(op, in.Reg())
	}
	return 8
}

// floatWidth is for the x87: of opcode op with the digit reg.
func floatWidth(op, reg byte) uint8 {
	switch op {
	case 0xd8, 0xda:
		return 4
	case 0xdc:
		return 8
	case 0xde:
		return 2
	}
	if reg >= 4 {
		switch {
		case op == 0xd9 && reg&1 == 1, op == 0xdd && reg == 7: // control and status words
			return 2
		case op == 0xdf && reg&1 == 1:
			return 8
		case op == 0xdb, op == 0xdf: // 80 bits
			return 10
		}
		return 128 // the whole state, or a part of it
	}
	return [...]uint8{0xd9 - 0xd9: 4, 0xdb - 0xd9: 4, 0xdd - 0xd9: 8, 0xdf - 0xd9: 2}[op-0xd9]
}

// extendedWidth is for opcodes behind 0F.
func extendedWidth(in *arch.Inst, code []byte) uint8 {
	op := in.Op
	switch {
	case op == 0xb6, op == 0xbe, op >= 0x90 && op < 0xa0, op == 0xb0, op == 0xc0: // movzx, movsx, setcc, cmpxchg, xadd of bytes
		return 1
	case op == 0xb7, op == 0xbf:
		return 2
	case op >= 0x40 && op < 0x50, op == 0xaf, op >= 0xb8 && op <= 0xbd, op == 0xb1, op == 0xc1, op == 0xc3:
		return operandWidth(in)
	case op == 0xae && in.Reg()&^1 == 2: // the control word of SSE
		return 4
	case op >= 0x80 && op < 0xae, op > 0xae && op < 0xc2:
		return 8 // other general registers
	}
	return mediaWidth1(in, legacyPrefix(in, code), 16)
}

// Prefixes that are a part of the opcode, numbered as VEX does.
const (
	pNone = iota
	p66
	pF3
	pF2
)

// legacyPrefix is the one before 0F that tells instructions of one opcode apart.
func legacyPrefix(in *arch.Inst, code []byte) byte {
	for _, b := range code[:min(int(in.Len), len(code))] {
		switch b {
		case 0xf3:
			return pF3
		case 0xf2:
			return pF2
		case 0x0f:
			if in.Size16 {
				return p66
			}
			return pNone
		}
	}
	return pNone
}

// scalar says whether F2 or F3 before 0F op makes it work on one float.
func scalar(op byte) bool {
	return op == 0x10 || op == 0x11 || op >= 0x2a && op <= 0x2d || op >= 0x51 && op <= 0x5f && op != 0x5b || op == 0xc2
}

// mediaWidth1 is for SSE and its kin behind 0F; whole is the vector's size.
func mediaWidth1(in *arch.Inst, prefix byte, whole uint8) uint8 {
	op := in.Op
	switch {
	case op == 0x2a && prefix >= pF3: // from an integer
		return wideOr4(in)
	case scalar(op) && prefix == pF3:
		return 4
	case scalar(op) && prefix == pF2:
		return 8
	case op == 0x5a && prefix == pNone, op == 0xe6 && prefix == pF3: // to floats of twice the size
		return whole / 2
	case op == 0x2e || op == 0x2f: // ucomis, comis
		if prefix == p66 {
			return 8
		}
		return 4
	case op == 0x6e, op == 0x7e && prefix != pF3:
		return wideOr4(in)
	case op == 0x7e, op == 0xd6:
		return 8
	case op == 0x12 && prefix < pF3, op == 0x16 && prefix < pF3, op == 0x13, op == 0x17: // halves
		return 8
	case op == 0xc4:
		return 2
	}
	return whole
}

// mediaWidth is for the maps 0F38 and 0F3A; whole is the vector's size.
func mediaWidth(in *arch.Inst, whole uint8) uint8 {
	if in.Map == 3 {
		switch in.Op {
		case 0x14, 0x20:
			return 1
		case 0x15:
			return 2
		case 0x0a, 0x17, 0x21:
			return 4
		case 0x0b:
			return 8
		case 0x16, 0x22:
			return wideOr4(in)
		case 0xf0: // rorx
			if in.Vector {
				return wideOr4(in)
			}
		}
		return whole
	}
	switch op := in.Op; {
	case in.Map != 2:
	case op >= 0x20 && op <= 0x25, op >= 0x30 && op <= 0x35: // one element of each
		return whole / [...]uint8{2, 4, 8, 2, 4, 2}[op&7]
	case !in.Vector && op >= 0xf0 && op <= 0xf1: // movbe, crc32
		return operandWidth(in)
	case in.Vector && op >= 0xf2 && op <= 0xf7:
		return wideOr4(in)
	case in.Vector && (op == 0x18 || op == 0x58): // broadcasts
		return 4
	case in.Vector && (op == 0x19 || op == 0x59):
		return 8
	case in.Vector && op >= 0x99 && op <= 0xbf && op&1 == 1 && op&15 >= 9: // fused, of one float
		return wideOr4(in)
	}
	return whole
}

// vectorWidth is for VEX, EVEX and XOP.
func vectorWidth(in *arch.Inst, code []byte) uint8 {
	const broadcast = 0x10
	for len(code) > 4 && (code[0] == 0x67 || code[0]&^1 == 0x64 || code[0]&^0x18 == 0x26) {
		code = code[1:] // addresses of 32 bits, and segments
	}
	if len(code) < 4 {
		return 64
	}
	var last byte // with the prefix, and the vector's size
	switch code[0] {
	case 0xc5:
		last = code[1]
	case 0xc4:
		last = code[2]
	case 0x62:
		if code[3]&broadcast != 0 {
			return 8
		}
		// 16, 32 or 64 bytes; what is not known here may take all of it.
		whole := uint8(16) << min(code[3]>>5&3, 2)
		if in.Map == 1 && (scalar(in.Op) || in.Op == 0x6e || in.Op == 0x7e) {
			return mediaWidth1(in, code[2]&3, whole)
		}
		return whole
	default:
		return 32 // XOP
	}
	whole := uint8(16)
	if last&4 != 0 {
		whole = 32
	}
	if in.Map == 1 {
		return mediaWidth1(in, last&3, whole)
	}
	return mediaWidth(in, whole)
}
