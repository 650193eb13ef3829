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

// constant binds the constant that reference k of f leads to. What is only
// read is carried. What has its address taken is that of the base image where
// it is the same, so that pointers stay equal; switch tables belong to the
// carried code in any case.
func (e *emitter) constant(f *diff.Func, k int) {
	r := &f.Refs[k]
	if r.Kind != diff.Lea {
		e.consts.add(e.around(r.Target, r.Target+image.Addr(max(r.Width, 8))+stringContext))
		e.pointersIn(r.Target, r.Target+image.Addr(max(r.Width, 8)))
		return
	}
	if to := e.d.JumpTargets(f, r.Target); len(to) > 0 {
		for _, x := range to { // what they lead to must come along
			e.c.add(e.d.Fixed.At(x))
		}
		e.c.follow()
		e.spread[r.Target] = true // no distances to bind: they lead into what is carried
		e.addressed(r.Target)
		return
	}
	if r.Off == 0 && e.walks(f, k) {
		return
	}
	if to, ok := e.place(r.Target); ok {
		e.leave(f, r, to, e.d.BaseVariableName(to))
		return
	}
	switch text := e.d.Text(r.Target); {
	case text && e.d.SeveralStrings(r.Target) && e.d.Compared(f, k):
		e.note(tableCarried, "it compares with the address of a string (at %s) of which there are several; with its own copy it will not find equal what was kept before", hexAddr(r.Target))
	case !text && (e.d.Kept(r.Target) || e.d.WasConstant(r.Target) && e.walked().Escapes(f, k)),
		text && e.d.Compared(f, k) && e.d.Kept(r.Target): // nobody compares with strings in earnest, so it may be something else
		e.note(tableCarried, "it brings its own copy of the constant at %s, which changed; pointers to the old one stay with it", e.d.VariableName(r.Target))
	}
	e.addressed(r.Target)
}

// place is where carried code finds the object at t in the base image; not ok:
// in its own copy.
func (e *emitter) place(t image.Addr) (image.Addr, bool) {
	if start, ok := e.d.EndOf(t); ok {
		to, ok := e.place(start)
		return to + (t - start), ok
	}
	switch e.d.Fixed.ClassAt(t) {
	case image.ROData:
		to, ok := e.d.SameConstant(t)
		return to, ok && !e.labels(t)
	case image.RelRO:
		b := e.d.Map(t)
		return b.Base, b.OK() && e.sameTable(b.Base, t)
	default:
		b := e.d.Map(t)
		return b.Base, b.OK()
	}
}

// walks settles an address that is the end of one object and the start of the
// next, when these two do not stay together: a loop that runs to the end of a
// table must find it where it found the start. True: reference k of f is bound.
func (e *emitter) walks(f *diff.Func, k int) bool {
	t := f.Refs[k].Target
	before, ok := e.d.Before(t)
	if !ok {
		return false
	}
	if _, named := e.d.EndOf(t); named {
		return false
	}
	to, inBase := e.place(t)
	if from, beforeInBase := e.place(before); inBase == beforeInBase && (!inBase || to-from == t-before) {
		return false
	}
	w := e.walk(f, k)
	switch {
	case !w.Compared(), len(w.From) == 0 && (!w.Elsewhere || w.Used || e.d.Literal(before)):
		return false
	case len(w.From) > 0 && !w.Start && !w.Elsewhere && !w.Used && e.end(f, k, w.From):
		return true
	case len(w.From) == 0 && inBase && !e.d.TakenIn(before, t) && e.d.SameRoom(before, t, to):
		return false // both meanings are one address of the base image
	}
	e.refuse(endPointer, "it compares with the address %#x, which is the end of one object and the start of another, and these two do not stay together", uint64(t))
	return false
}

func (e *emitter) walk(f *diff.Func, k int) diff.Walk { return e.walked().Walk(f, k) }

func (e *emitter) walked() *diff.Walker {
	if e.walker == nil {
		e.walker = e.d.Walker()
	}
	return e.walker
}

// end binds reference k of f to where walks end that start where the
// references from lead to; false when these do not agree.
func (e *emitter) end(f *diff.Func, k int, from []diff.Taken) bool {
	r := &f.Refs[k]
	var to image.Addr
	var inBase bool
	for i, w := range from {
		q := &w.F.Refs[w.K]
		at, there, ok := e.start(w)
		at += r.Target - q.Target
		if !ok || i > 0 && (there != inBase || at != to) {
			return false
		}
		to, inBase = at, there
	}
	switch {
	case inBase:
		e.leave(f, r, to, e.d.BaseVariableName(to)+" end")
	case r.Class == image.ROData:
		e.addressed(r.Target) // stays behind the copy of the table
	case from[0].F.Refs[from[0].K].Class.Writable():
		e.redirect(f, r, to)
	}
	return true
}

// passedOn refuses tables of which carried code has a copy of its own, and hands
// places in it to old code that walks to where the old table ends.
func (e *emitter) passedOn() {
	own := map[image.Addr]bool{}
	for _, f := range e.c.list {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Kind == diff.Lea && (r.Class == image.ROData || r.Class == image.RelRO) {
				if _, inBase := e.place(r.Target); !inBase {
					own[r.Target] = true
				}
			}
		}
	}
	if len(own) == 0 {
		return
	}
	walker := e.d.Walker()
	for _, f := range e.d.Fixed.Funcs {
		if e.c.in[f] || f.Source == image.FromGap {
			continue
		}
		for k := range f.Refs {
			r := &f.Refs[k]
			if r.Kind != diff.Lea || r.Class.Writable() {
				continue
			}
			if o, ok := e.d.Before(r.Target); ok && own[o] && !e.d.Literal(o) && endsElsewhere(walker.Walk(f, k)) {
				e.reasons.add(endPointer, label(e.d, f), "it is not replaced and walks to %#x, where a table ends of which new code has a copy of its own", uint64(r.Target))
			}
		}
	}
}

// endsElsewhere: w may be a walk to the end of an object, from a start that is
// not known.
func endsElsewhere(w diff.Walk) bool { return w.Elsewhere && !w.Used }

// start is where carried code finds what reference w leads to: in the base
// image, or at an address of the fixed one that is carried.
func (e *emitter) start(w diff.Taken) (at image.Addr, inBase, ok bool) {
	t := w.F.Refs[w.K].Target
	switch w.F.Refs[w.K].Class {
	case image.ROData:
		to, inBase := e.place(t)
		if !inBase {
			to = t
		}
		return to, inBase, true
	case image.RelRO:
		if b := e.d.Bind(w.F, w.K); b.OK() && e.sameTable(b.Base, t) {
			return b.Base, true, true
		}
		return t, false, true
	}
	b := e.d.Bind(w.F, w.K)
	if b.How == diff.NewVariable {
		return e.variable(t), false, true
	}
	return b.Base, true, b.OK()
}

// addressed carries the constant at t, whose address is taken: never less than
// the object it is in, since what starts like a string need not be one.
func (e *emitter) addressed(t image.Addr) {
	lo, hi := e.d.TableAt(t)
	hi = max(hi, e.d.Fixed.End(t))
	e.pointersIn(min(lo, t), hi)
	e.distances(lo)
	e.distances(t)
	if n := e.d.Fixed.CString(t); n > 1 && e.startsString(t) {
		e.consts.add(e.around(min(lo, t), max(hi, t+image.Addr(n)+stringContext)))
		return
	}
	e.consts.add(e.around(min(lo, t), max(hi, t+objectContext)))
}

// pointersIn stores the pointers among carried constants [lo, hi), which switch
// tables have in programs at a fixed address. Those into functions that stay
// where they are belong to something else.
func (e *emitter) pointersIn(lo, hi image.Addr) {
	for _, r := range e.d.Fixed.RelocsIn(lo, hi) {
		if g := e.inside(&r); e.stored[r.At] || g != nil && !e.c.in[g] {
			continue
		}
		e.stored[r.At] = true
		e.store(r.At, &r)
	}
}

// inside is the function into the middle of which a relocation points, nil for
// other pointers.
func (e *emitter) inside(r *image.Reloc) *diff.Func {
	t, ok := diff.Pointee(r)
	if !ok || e.d.Fixed.ClassAt(t) != image.Text {
		return nil
	}
	if g := e.d.Fixed.At(t); g != nil && g.Lo != t {
		return g
	}
	return nil
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

// carryTable carries a copy of the pointers at t, up to the next known object.
func (e *emitter) carryTable(t image.Addr) {
	lo, hi := e.d.TableAt(t)
	if _, _, named := e.d.Named(t); !named && len(e.d.Fixed.Kept) > 0 {
		// What is indexed from t may be longer than anybody knows.
		s := e.d.Fixed.SectionAt(t)
		hi = max(hi, min(s.Addr+s.Size, t+objectContext))
	}
	e.carryPointers(lo, hi)
}

// carryPointers carries a copy of the pointers at [lo, hi), which the loader
// wrote and nobody changes.
func (e *emitter) carryPointers(lo, hi image.Addr) {
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
		i := image.Import{Name: r.Sym, Version: r.Version}
		if sym, ok := e.d.Fixed.Exported(i); ok {
			if _, old := e.d.Base.Exported(i); !old {
				e.pointer(at, sym.Addr+image.Addr(r.Add))
				return
			}
		}
		if r.Sym == "" {
			e.pointer(at, r.SymAddr+image.Addr(r.Add))
			return
		}
		if same, why := e.d.SameExport(r); !same {
			if e.export(r, why) {
				e.pointer(at, r.SymAddr+image.Addr(r.Add))
			}
			return
		}
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(at), Type: patch.Abs64, Sym: e.importSymbol(i), Add: r.Add})
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
	if q, off := e.copyAt(t); q != nil {
		e.copyPointer(at, q, off)
		return
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
		if to, ok := e.place(t); ok {
			toBase(to, e.d.BaseVariableName(to))
			return
		}
		e.addressed(t)
		inside(t)
	case image.RelRO:
		if b := e.d.Map(t); b.OK() && e.sameTable(b.Base, t) {
			toBase(b.Base, e.d.BaseVariableName(b.Base))
			return
		}
		if to, ok := e.typeObject(t); ok {
			toBase(to, e.d.BaseVariableName(to))
			return
		}
		e.carryTable(t)
		inside(t)
	case image.Data, image.BSS:
		b := e.d.Map(t)
		switch {
		case b.OK() && e.labels(t):
			e.refuse(referenceUnbound, "the variable %s holds places inside of code that is replaced", e.variableName(t))
		case b.OK():
			toBase(b.Base, e.d.BaseVariableName(b.Base))
		case b.How == diff.NewVariable:
			inside(e.variable(t))
		case b.Grew:
			e.refuse(layoutChanged, "a pointer leads to a variable of another size: %s", b.Why)
		default:
			e.refuse(dataUnmapped, "the variable %s, which a pointer leads to, has no certain counterpart: %s", e.variableName(t), b.Why)
		}
	case image.PLT:
		i, ok := e.d.Fixed.PLTName(t)
		if !ok {
			if to, ok := e.indirect(t); ok {
				toBase(to, "ifunc "+hexAddr(to))
				return
			}
		} else if to, ok := e.canonical(i); ok {
			toBase(to, i.Name)
			return
		}
		e.refuse(referenceUnbound, "a pointer at %#x leads to the PLT entry at %#x, which has no counterpart", uint64(at), uint64(t))
	default:
		e.refuse(referenceUnbound, "a pointer at %#x leads to %#x, which is neither code nor data", uint64(at), uint64(t))
	}
}
