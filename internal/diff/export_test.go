package diff

import (
	"fmt"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// RAXAfter says what an instruction does with rax.
func RAXAfter(code []byte) string {
	in, err := arch.Decode(code)
	if err != nil {
		return err.Error()
	}
	return [...]string{raxRead: "read", raxKept: "kept", raxReplaced: "replaced"}[killsRAX(&in, code)]
}

// RestsDiffer is the first place where what is remembered of how objects start
// is not what a comparison says, "" for none; alike counts the others.
func RestsDiffer(d *Diff) (at string, alike int) {
	m := &d.data
	for _, s := range d.Fixed.Sections {
		if !s.Class.Writable() && s.Class != image.RelRO {
			continue
		}
		for _, delta := range []image.Addr{0, word, 4} {
			for v := s.Addr + delta; v < s.Addr+s.Size; v += 4 {
				a := v - delta
				n := min(d.Base.End(a)-a, d.Fixed.End(v)-v)
				got, want := m.restAlike(a, v, n), m.alikeInitially(a, v, n)
				if got != want {
					return fmt.Sprintf("%#x and %#x: %v", a, v, got), alike
				}
				if got {
					alike++
				}
			}
		}
	}
	return "", alike
}

// AccessWidth is accessWidth of the instruction at the start of code, 0 when it
// has no operand in memory.
func AccessWidth(code []byte) (width int, err error) {
	in, err := arch.Decode(code)
	if err != nil || !in.HasMemory() {
		return 0, err
	}
	return int(accessWidth(&in, code)), nil
}
