package build

import (
	"debug/elf"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// A program (no library) may have its own copy of a library's variable, which the
// loader fills and everybody uses: a COPY relocation. Code takes its address as
// if it were the program's. Type objects and vtables of the C++ library come
// this way, and a fix that throws std::invalid_argument for the first time has
// a copy that the base image lacks. Then there the library's own is in use.

// copiesOf are the COPY relocations of an image.
func copiesOf(c *diff.Code) (out []*image.Reloc) {
	for i := range c.Relocs {
		if r := &c.Relocs[i]; r.Type == elf.R_X86_64_COPY {
			out = append(out, r)
		}
	}
	return out
}

// copyOf is the COPY relocation of the fixed image whose variable t is in.
func (e *emitter) copyOf(t image.Addr) (q *image.Reloc, off image.Addr) {
	for _, r := range e.copies {
		if t < r.At {
			continue
		}
		if s, ok := e.d.Fixed.Dynamic(r.Sym); t == r.At || ok && t-r.At < image.Addr(s.Size) {
			return r, t - r.At
		}
	}
	return nil, 0
}

// baseCopy is the base image's copy of the same variable.
func (e *emitter) baseCopy(q *image.Reloc) (image.Addr, bool) {
	return only(e.d.Base.Relocs, func(p *image.Reloc) bool { return p.Type == q.Type && p.Sym == q.Sym && p.Version == q.Version })
}

// copied binds a reference to a copy; false: it is none, or one that the base
// image has, too.
func (e *emitter) copied(f *diff.Func, r *diff.Ref) bool {
	q, off := e.copyAt(r.Target)
	if q == nil {
		return false
	}
	opcode := f.Lo + image.Addr(r.Field) - 2
	if b := e.d.Fixed.Bytes(opcode-1, 3); r.Kind != diff.Lea || r.Form != diff.Relative || r.Off != 0 || r.Size != 4 || len(b) != 3 || b[0]&0xf8 != 0x48 || b[1] != 0x8d || b[2]&0xc7 != 5 {
		e.refuse(referenceUnbound, "it uses %s of a library, of which the running program has no copy", q.Sym)
		return true
	}
	// lea x(%rip),reg becomes mov slot(%rip),reg: one byte differs.
	at := e.ref()
	e.copyPointer(at, q, off)
	e.h.loads = append(e.h.loads, opcode)
	e.redirect(f, r, at)
	return true
}

// copyAt is the COPY relocation for t that only the fixed image has.
func (e *emitter) copyAt(t image.Addr) (*image.Reloc, image.Addr) {
	q, off := e.copyOf(t)
	if q == nil {
		return nil, 0
	}
	if _, ok := e.baseCopy(q); ok {
		return nil, 0
	}
	return q, off
}

// copyPointer stores the address of the library's own variable.
func (e *emitter) copyPointer(at image.Addr, q *image.Reloc, off image.Addr) {
	s := e.importSymbol(image.Import{Name: q.Sym, Version: q.Version})
	e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: s, Add: int64(off)})
}
