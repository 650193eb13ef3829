package diff

import (
	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// What does a reference lead to, by name?

// importName is the symbol that a place of this class, a stub or a slot, leads
// to; "" for none that is known.
func (c *Code) importName(class image.Class, at image.Addr) string {
	switch class {
	case image.PLT:
		i, _ := c.PLTName(at)
		return i.Name
	case image.GOT:
		return gotKey(c, at).sym
	}
	return ""
}

// called is the name of what a call or a jump leads to, without what a compiler
// put behind it, and the function, where it is of this image.
func (c *Code) called(r *Ref) (name string, f *Func) {
	if r.Class == image.Text && (r.Kind == Call || r.Kind == Jump) {
		if f = c.Entry(r.Target); f != nil && len(f.Names) > 0 {
			name = names.Stem(f.Names[0])
		}
		return name, f
	}
	return c.importName(r.Class, r.Target), nil
}

// slotKey is what a GOT slot means, without addresses.
type slotKey struct {
	kind    uint32
	sym     string
	version string
}

func gotKey(c *Code, a image.Addr) slotKey {
	r := c.RelocAt(a)
	if r == nil {
		return slotKey{}
	}
	return slotKey{uint32(r.Type), r.Sym, r.Version}
}
