package build

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// The loader answers dlsym(RTLD_NEXT, ...) by the image in which the code lies
// that asks. Carried code lies in none, and gets nothing.

// asks refuses f when import i is dlsym and f has the number that RTLD_NEXT is.
func (e *emitter) asks(f *diff.Func, i image.Import) {
	if i.Name != "dlsym" && i.Name != "dlvsym" || !loadsMinusOne(e.d.Fixed.Text(f)) {
		return
	}
	e.refuse(referenceUnbound, "it asks the loader for the next definition of a symbol (%s with RTLD_NEXT), which goes by where the code lies that asks", i.Name)
}

// loadsMinusOne says whether code puts -1 into a 64-bit register.
func loadsMinusOne(code []byte) bool {
	for at := 0; at < len(code); {
		in, err := arch.Decode(code[at:])
		if err != nil || in.Len == 0 {
			return true // it cannot be told
		}
		if in.Map == 0 && in.Wide && !in.HasMemory() && in.ImmLen > 0 && in.Imm(code[at:]) == -1 {
			if mov, or := in.Op == 0xc7, (in.Op == 0x83 || in.Op == 0x81) && in.Reg() == 1; mov || or {
				return true
			}
		}
		at += int(in.Len)
	}
	return false
}
