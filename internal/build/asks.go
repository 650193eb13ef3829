package build

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// The loader answers dlsym(RTLD_NEXT, ...) by the image in which the code lies
// that asks. Carried code lies in none, and gets nothing. Nor does the loader know
// names that the fix brings.

// asks refuses f when it uses i, which the loader would find elsewhere than in the
// running program, and when i is dlsym and f asks for what the loader has not.
func (e *emitter) asks(f *diff.Func, i image.Import) (refused bool) {
	if why := e.d.ComesFrom(i); why != "" {
		e.refuse(referenceUnbound, "it uses %s, %s", i.Name, why)
		return true
	}
	if i.Name != "dlsym" && i.Name != "dlvsym" && i.Name != "g_module_symbol" {
		return false
	}
	if loadsMinusOne(e.d.Fixed.Text(f)) {
		e.refuse(referenceUnbound, "it asks the loader for the next definition of a symbol (%s with RTLD_NEXT), which goes by where the code lies that asks", i.Name)
		return true
	}
	if name := e.newName(); name != "" {
		e.refuse(referenceUnbound, "it asks the loader for symbols (%s), and carried code has the name of one that only the fixed image exports: %s", i.Name, name)
		return true
	}
	return false
}

// newName is a string of carried code that is the name of what the fixed image exports
// and the base image does not, the first by the alphabet; "" for none.
func (e *emitter) newName() string {
	first := ""
	for f := range e.c.in {
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Class != image.ROData || r.Kind != diff.Lea {
				continue
			}
			const longest = 4096
			n := e.d.Fixed.CString(r.Target)
			if n < 2 || n > longest {
				continue
			}
			name := string(e.d.Fixed.Bytes(r.Target, n-1))
			_, was := e.d.Base.Dynamic(name)
			if _, is := e.d.Fixed.Dynamic(name); is && !was && (first == "" || name < first) {
				first = name
			}
		}
	}
	return first
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
