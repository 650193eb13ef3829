package build

import (
	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// apart settles an address to which a register is added, of which only the
// section is known, where it cannot be told for certain which object is meant:
// the one there, the one that ends there (and is indexed from its end), or the
// next (table-8, for indices from one). If all of them stay together it does not
// matter. Constants are carried together; variables are refused. True: reference
// k of f is settled.
func (e *emitter) apart(f *diff.Func, k int) bool {
	r := &f.Refs[k]
	t := r.Target
	class := r.Class
	if class != image.ROData && class != image.RelRO && !class.Writable() || len(e.d.JumpTargets(f, t)) > 0 || e.certainly(f, r) {
		return false
	}
	if a := e.d.BaseOf(f); a != nil && a.Hash == f.Hash && len(a.Refs) == len(f.Refs) && e.d.Aside(&a.Refs[k], r) && class.Writable() {
		return false // bound as in the base function
	}
	to, inBase := e.place(t)
	together := inBase || !class.Writable()
	near := e.near(t)
	for _, a := range near {
		at, ok := e.place(a)
		together = together && ok == inBase && (!ok || at-a == to-t)
	}
	switch {
	case inBase && together:
		return false
	case class.Writable():
		e.refuse(endPointer, "it indexes from the address %#x, which may mean either of two variables, and these do not stay together", uint64(t))
		return true
	}
	for _, a := range append(near, t) {
		if e.d.Fixed.ClassAt(a) == image.RelRO {
			e.carryTable(a)
		} else if e.d.Fixed.ClassAt(a) == image.ROData {
			e.addressed(a)
		}
	}
	return true
}

// certainly: the address is the start of an array with a name, and nobody counts
// up to zero.
func (e *emitter) certainly(f *diff.Func, r *diff.Ref) bool {
	const two = 16 // bytes; a single number is not indexed
	lo, hi, ok := e.d.Named(r.Target)
	return ok && lo == r.Target && hi-lo >= two && !e.negative(f, r)
}

// negative: f loads a negative constant into a register that is added to r.
func (e *emitter) negative(f *diff.Func, r *diff.Ref) bool {
	code := e.d.Fixed.Text(f)
	use, err := arch.Decode(code[r.At:])
	if err != nil {
		return true
	}
	for at := 0; at < len(code); {
		in, err := arch.Decode(code[at:])
		if err != nil {
			return true
		}
		if in.Map == 0 && in.Op == 0xc7 && in.Wide && !in.HasMemory() && in.Imm(code[at:]) < 0 {
			reg := int8(in.ModRM & 7)
			if code[at]&1 != 0 { // REX.B
				reg |= 8
			}
			if reg == use.Base || reg == use.Index {
				return true
			}
		}
		at += int(in.Len)
	}
	return false
}

// near are the starts of the objects around the one at t.
func (e *emitter) near(t image.Addr) []image.Addr {
	var out []image.Addr
	s := e.d.Fixed.SectionAt(t)
	at, end := t, e.d.Fixed.ObjectEnd(t)
	if lo, hi, ok := e.d.Named(t); ok {
		at, end = lo, hi
	}
	if before, ok := e.d.Before(at); ok && at == t && !e.d.Literal(before) {
		if lo, _, ok := e.d.Named(before); ok {
			before = lo
		}
		out = append(out, before)
	}
	if end-t <= objectContext && end < s.Addr+s.Size {
		// Padding is not meant.
		if lo, _, ok := e.d.Named(end); ok {
			end = lo
		} else {
			end = e.d.NextObject(end)
		}
		if e.d.Fixed.SectionAt(end) == s && end-t <= objectContext {
			out = append(out, end)
		}
	}
	return out
}
