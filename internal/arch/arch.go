// Package arch holds the facts about x86-64 machine code that the rest of
// hotpatch needs: how long an instruction is, which of its bytes are relative
// to the program counter, where a branch goes, and what a redirected function
// entry looks like. It knows no ELF, no process and no policy.
//
// Encoding: Intel SDM vol. 2, chapter 2 (legacy, REX, VEX, EVEX) and AMD64
// APM vol. 6 (XOP).
package arch

import "errors"

// ErrTruncated says that the bytes end inside an instruction; ErrUnknown that
// they are no instruction of 64-bit mode that we know.
var (
	ErrTruncated = errors.New("truncated instruction")
	ErrUnknown   = errors.New("unknown instruction")
)

// MaxLen is the longest instruction the processor accepts, in bytes.
const MaxLen = 15

// Inst is one decoded instruction, reduced to what comparing and moving code
// needs. Offsets are from the first byte of the instruction, sizes in bytes.
type Inst struct {
	Len     uint8
	Op      byte // last opcode byte
	Map     byte // 0 one-byte, 1 0F, 2 0F38, 3 0F3A; VEX/EVEX/XOP: their map
	ModRM   byte
	DispOff uint8 // displacement; DispLen 0: none. moffs: 8 bytes (4 with 67)
	DispLen uint8
	ImmOff  uint8 // immediate or branch distance; ImmLen 0: none. enter: 3 bytes
	ImmLen  uint8
	Base    int8 // base register 0..15, NoReg, or RIP
	Index   int8 // index register 0..15 (a vector index: 0..31) or NoReg

	HasModRM bool
	Rel      bool // ImmOff/ImmLen is a branch distance from the end
	FS       bool // fs-relative memory operand (thread-local storage)
	Wide     bool // REX.W, or the W bit of VEX, EVEX or XOP
	Vector   bool // VEX, EVEX or XOP encoded
	Addr32   bool // prefix 67: addresses are cut to 32 bits
	Size16   bool // prefix 66: 16-bit operands, or a part of an SSE opcode
}

const (
	NoReg = -1
	RIP   = 16
)
