package arch

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// JumpSize is the length of the jump that redirects a function.
const JumpSize = 5

// Jump encodes a jmp rel32 at from that goes to to. An error says that the
// distance does not fit in 32 bits.
func Jump(from, to uint64) ([JumpSize]byte, error) {
	d := int64(to - from - JumpSize)
	if d != int64(int32(d)) {
		return [JumpSize]byte{}, fmt.Errorf("encode jump from %#x to %#x: more than 2 GiB apart", from, to)
	}
	j := [JumpSize]byte{0: 0xe9}
	binary.LittleEndian.PutUint32(j[1:], uint32(d))
	return j, nil
}

// EntryOffset is where in a function the jump is written: behind endbr64,
// which an indirect call must still find (CET), else at 0.
func EntryOffset(code []byte) int {
	if bytes.HasPrefix(code, []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
		return 4
	}
	return 0
}

// Padding is the length of the filler that b starts with: nops of any length,
// int3 and zero bytes.
func Padding(b []byte) int {
	n := 0
	for n < len(b) {
		if b[n] == 0 || b[n] == 0xcc || b[n] == 0x90 {
			n++
			continue
		}
		in, err := Decode(b[n:])
		if err != nil || !in.nop(b[n:]) {
			break
		}
		n += int(in.Len)
	}
	return n
}

// nop reports a no-op longer than the single 90. Only the prefix 66 leaves 90
// a no-op: with F3 it is pause, with REX.B it exchanges r8.
func (in Inst) nop(code []byte) bool {
	switch {
	case in.Vector:
		return false
	case in.Map == 1:
		return in.Op == 0x1f && in.Reg() == 0
	case in.Map != 0 || in.Op != 0x90:
		return false
	}
	return bytes.Count(code[:in.Len], []byte{0x66}) == int(in.Len)-1
}

// BranchInto looks for a direct branch in code that lands strictly inside the
// bytes [lo, hi) of the same code: at lo itself is fine. at is the offset of
// the first such branch. Bytes that do not decode are an error, since a branch
// could hide behind them.
func BranchInto(code []byte, lo, hi int) (at int, found bool, err error) {
	for o := 0; o < len(code); {
		in, err := Decode(code[o:])
		if err != nil {
			return 0, false, fmt.Errorf("decode code at offset %#x: %w", o, err)
		}
		if in.Rel {
			if to := int64(o+int(in.Len)) + in.Imm(code[o:]); to > int64(lo) && to < int64(hi) {
				return o, true, nil
			}
		}
		o += int(in.Len)
	}
	return 0, false, nil
}
