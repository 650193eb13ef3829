package diff

import (
	"testing"

	"hotpatch/internal/arch"
)

// What an instruction writes is known to come from elsewhere then, but where it is
// moved by a distance, or copied.
func TestTraceNoticesWhatAnInstructionWrites(t *testing.T) {
	follows := map[byte]bool{0x01: true, 0x03: true, 0x21: true, 0x23: true, 0x29: true, 0x2b: true, 0x81: true, 0x83: true, 0x89: true, 0x8b: true, 0x8d: true, 0xff: true}
	checked := 0
	try := func(b []byte) {
		in, err := arch.Decode(b)
		if err != nil || in.IsCall() || in.IsJump() || in.IsRet() || in.Map == 0 && follows[in.Op] || in.Map == 1 && in.Op>>4 == 4 {
			return
		}
		b = b[:in.Len]
		var s state
		for r := range s.regs {
			s.regs[r] = 1 << (firstTracked + r)
		}
		before := s.regs
		(&trace{slots: map[int32]provenance{}}).execute(&step{in: in, code: b}, &s)
		written := in.Writes(b)
		if in.Map == 0 && in.Op >= 0xa4 && in.Op <= 0xaf { // string instructions move these
			written &^= 1<<rsi | 1<<rdi
		}
		for r := range s.regs {
			if r == rsp || !written.Has(r) {
				continue
			}
			if checked++; s.regs[r] == before[r] {
				t.Errorf("% x (map %d, opcode %02x) changes register %d, which was not noticed", b, in.Map, in.Op, r)
			}
		}
	}
	for op := range 256 {
		for _, prefix := range [][]byte{{}, {0x66}, {0xf2}, {0xf3}, {0x40}, {0x4d}, {0x48}} {
			for _, opcodes := range [][]byte{{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}} {
				for _, modrm := range []byte{0x00, 0x43, 0xc1, 0xc6} {
					for digit := range byte(8) {
						b := append(append([]byte{}, prefix...), opcodes...)
						try(append(append(b, byte(op), modrm|digit<<3), make([]byte, 12)...))
					}
				}
			}
		}
	}
	if checked < 1000 {
		t.Errorf("only %d registers were looked at", checked)
	}
}
