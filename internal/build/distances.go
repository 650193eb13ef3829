package build

import (
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// distances binds what the carried table of distances at t leads to, if there is
// one: what is carried, too, stays as far from it as it is, and what is the base
// image's is reached by relocation.
func (e *emitter) distances(t image.Addr) {
	if e.spread[t] || e.lost {
		return
	}
	to, sure, why := e.d.Distances(t)
	if len(to) == 0 && why == "" {
		if e.d.FarDistances(e.now, t) {
			e.spread[t] = true
			e.refuse(referenceUnbound, "the constant at %#x looks like distances to functions, of 64 bits or not from itself, which are other ones in the running program", uint64(t))
		}
		return
	}
	e.spread[t] = true
	if why != "" {
		e.lost = true // there may be thousands, and one is enough
		e.refuse(referenceUnbound, "the table of distances at %#x would be carried: %s", uint64(t), why)
		return
	}
	for i, x := range to {
		switch class := e.d.Fixed.ClassAt(x); {
		case sure:
			e.distance(t+image.Addr(4*i), t, x)
		case class == image.ROData:
			e.addressed(x)
		default:
			e.refuse(referenceUnbound, "the constant at %#x looks like distances to functions, and nothing is seen to use it so", uint64(t))
			return
		}
	}
}

// distance writes at the carried address how far the fixed image's x is from the
// one of a table.
func (e *emitter) distance(at, table, x image.Addr) {
	toBase := func(a image.Addr, name string) {
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.PC32, Sym: e.baseSymbol(a, name), Add: int64(at - table)})
	}
	switch e.d.Fixed.ClassAt(x) {
	case image.Text:
		e.reach(x)
		if g := e.d.Fixed.Entry(x); g != nil && e.d.BaseOf(g) != nil {
			toBase(e.d.BaseOf(g).Lo, e.d.BaseOf(g).Name())
		} else if g == nil || !e.c.in[g] {
			e.refuse(referenceUnbound, "a distance at %#x leads to no function (%#x)", uint64(at), uint64(x))
		}
	case image.ROData:
		if to, ok := e.place(x); ok {
			toBase(to, e.d.BaseVariableName(to))
			return
		}
		e.addressed(x)
	case image.Data, image.BSS:
		if b := e.d.Map(x); b.OK() && b.How != diff.NewVariable {
			toBase(b.Base, e.d.BaseVariableName(b.Base))
			return
		}
		fallthrough
	default:
		e.refuse(referenceUnbound, "a distance at %#x leads to %s, which has no certain counterpart", uint64(at), e.variableName(x))
	}
}
