package build

import (
	"debug/elf"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// How much around a constant is carried with it. Vector code reads past the
// end of strings; and compilers fold a constant index into an address
// (table-97 for table[c-'a']), so what is meant may lie behind the address.
const (
	stringContext = 64
	objectContext = 4096
)

// constant carries the constant that r leads to.
func (e *emitter) constant(f *diff.Func, r *diff.Ref) {
	if to, ok := e.shared[r.Target]; ok && r.Kind == diff.Lea {
		e.leave(f, r, to, e.d.BaseVariableName(to))
		return
	}
	if r.Kind != diff.Lea {
		e.consts.add(e.around(r.Target, r.Target+image.Addr(max(r.Width, 8))+stringContext))
		return
	}
	e.addressed(r.Target)
}

// addressed carries the constant at t, whose address is taken.
func (e *emitter) addressed(t image.Addr) {
	if n := e.d.Fixed.CString(t); n > 1 && e.startsString(t) {
		e.consts.add(e.around(t, t+image.Addr(n)+stringContext))
		return
	}
	e.consts.add(e.around(t, max(e.d.Fixed.End(t), t+objectContext)))
}

// startsString: only what follows a NUL (or starts the section) is a whole
// string and not a place inside some table.
func (e *emitter) startsString(t image.Addr) bool {
	b := e.d.Fixed.Bytes(t-1, 1)
	return len(b) == 0 || b[0] == 0
}

// around bounds [lo, hi) by the section and extends it down to a 16-byte
// boundary.
func (e *emitter) around(lo, hi image.Addr) (image.Addr, image.Addr) {
	s := e.d.Fixed.SectionAt(lo)
	return max(lo&^15, s.Addr), min(hi, s.Addr+s.Size)
}

// sharedConstants are the constants whose address both images take alike, and
// that are equal: carried code uses those of the base image, so that
// pointers to them stay equal. Strings are compared by content in C.
func sharedConstants(d *diff.Diff) map[image.Addr]image.Addr {
	out := map[image.Addr]image.Addr{}
	clash := map[image.Addr]bool{}
	for _, f := range d.Fixed.Funcs {
		a := d.BaseOf(f)
		if a == nil || a.Hash != f.Hash || len(a.Refs) != len(f.Refs) {
			continue
		}
		for k := range f.Refs {
			p, q := &a.Refs[k], &f.Refs[k]
			if q.Kind != diff.Lea || p.Class != image.ROData || q.Class != image.ROData {
				continue
			}
			if old, ok := out[q.Target]; ok {
				clash[q.Target] = clash[q.Target] || old != p.Target
				continue
			}
			out[q.Target] = p.Target
		}
	}
	// A string is none of them (an empty one may be an object of zeros, such as a
	// nil value that code compares pointers with); neither is what differs, nor a switch table,
	// whose entries are distances to its own function.
	for t, b := range out {
		if clash[t] || d.Fixed.CString(t) > 1 || !d.SameTable(b, t) {
			delete(out, t)
		}
	}
	return out
}

// carryTable carries a copy of the pointers at t, up to the next known object.
func (e *emitter) carryTable(t image.Addr) {
	lo, hi := e.d.TableAt(t)
	fresh := len(e.d.Fixed.RelocsIn(lo, hi)) == 0
	e.tables.add(lo, hi)
	for _, r := range e.d.Fixed.RelocsIn(lo, hi) {
		if !e.stored[r.At] {
			e.stored[r.At] = true
			fresh = true
			e.store(r.At, &r)
		}
	}
	if fresh {
		e.note(tableCarried, "it brings its own copy of the table at %s (%d bytes); pointers to the old one stay with it", hexAddr(lo), hi-lo)
	}
}

// store writes at the carried address what relocation r stores in the fixed
// image.
func (e *emitter) store(at image.Addr, r *image.Reloc) {
	switch r.Type {
	case elf.R_X86_64_RELATIVE:
		e.pointer(at, image.Addr(r.Add))
	case elf.R_X86_64_64:
		if sym, ok := e.d.Fixed.Dynamic(r.Sym); ok {
			if _, old := e.d.Base.Dynamic(r.Sym); !old {
				e.pointer(at, sym.Addr+image.Addr(r.Add))
				return
			}
		}
		if r.Sym == "" {
			e.pointer(at, r.SymAddr+image.Addr(r.Add))
			return
		}
		s := e.importSymbol(image.Import{Name: r.Sym, Version: r.Version})
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: s, Add: r.Add})
	default:
		e.refuse(referenceUnbound, "a table at %#x needs a relocation of type %v", uint64(at), r.Type)
	}
}

// reach carries what a pointer to t needs.
func (e *emitter) reach(t image.Addr) {
	if e.d.Fixed.ClassAt(t) != image.Text {
		return
	}
	if g := e.d.Fixed.At(t); g != nil {
		e.c.need(g)
		e.c.follow()
	}
}

// pointer writes the address of the fixed image's t, wherever that is for a
// process.
func (e *emitter) pointer(at, t image.Addr) {
	toBase := func(a image.Addr, name string) {
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: e.baseSymbol(a, name)})
	}
	inside := func(a image.Addr) {
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: -1, Add: int64(a)})
	}
	switch e.d.Fixed.ClassAt(t) {
	case image.Text:
		e.reach(t)
		g := e.d.Fixed.At(t)
		switch {
		case g == nil:
			e.refuse(referenceUnbound, "a pointer at %#x leads to no function (%#x)", uint64(at), uint64(t))
		case e.d.BaseOf(g) != nil && t == g.Lo:
			toBase(e.d.BaseOf(g).Lo, e.d.BaseOf(g).Name())
		case e.c.in[g]:
			inside(t)
		default:
			e.refuse(referenceUnbound, "a pointer at %#x leads into %s", uint64(at), label(e.d, g))
		}
	case image.ROData:
		if to, ok := e.shared[t]; ok {
			toBase(to, e.d.BaseVariableName(to))
			return
		}
		e.addressed(t)
		inside(t)
	case image.RelRO:
		if b := e.d.Map(t); b.OK() && e.d.SameTable(b.Base, t) {
			toBase(b.Base, e.d.BaseVariableName(b.Base))
			return
		}
		e.carryTable(t)
		inside(t)
	case image.Data, image.BSS:
		b := e.d.Map(t)
		switch {
		case b.OK():
			toBase(b.Base, e.d.BaseVariableName(b.Base))
		case b.How == diff.NewVariable:
			inside(e.variable(t))
		case b.Grew:
			e.refuse(layoutChanged, "a pointer leads to a variable of another size: %s", b.Why)
		default:
			e.refuse(dataUnmapped, "the variable %s, which a pointer leads to, has no certain counterpart: %s", e.variableName(t), b.Why)
		}
	default:
		e.refuse(referenceUnbound, "a pointer at %#x leads to %#x, which is neither code nor data", uint64(at), uint64(t))
	}
}
