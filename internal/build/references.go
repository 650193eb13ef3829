package build

import (
	"debug/elf"
	"slices"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// reference binds reference k of f: it stays inside the object, or leads to
// its counterpart in the base image, or to something new.
func (e *emitter) reference(f *diff.Func, k int) {
	r := &f.Refs[k]
	if e.copied(f, r) || e.set(f, k) || r.Indexed && e.apart(f, k) {
		return
	}
	switch r.Class {
	case image.Text:
		e.code(f, r)
	case image.PLT:
		e.plt(f, r)
	case image.GOT:
		e.got(f, r)
	case image.ROData:
		e.constant(f, k)
	case image.RelRO:
		e.table(f, k)
	case image.Data, image.BSS:
		e.data(f, k)
	default:
		if !e.endsBefore(f, k) {
			e.other(f, r)
		}
	}
}

// endsBefore binds an address where a section without objects starts (.dynamic
// behind .data.rel.ro, .eh_frame_hdr behind .rodata), when it is the end of the
// table before it. True: there is nothing left to bind.
func (e *emitter) endsBefore(f *diff.Func, k int) bool {
	r := &f.Refs[k]
	before, ok := e.d.Before(r.Target)
	if !ok || r.Kind != diff.Lea {
		return false
	}
	if start, named := e.d.EndOf(r.Target); named {
		if to, ok := e.place(start); ok {
			e.leave(f, r, to+(r.Target-start), e.d.BaseVariableName(to)+" end")
		}
		return true // else it stays where the copy of the table ends
	}
	if w := e.walk(f, k); len(w.From) > 0 && !w.Start && !w.Elsewhere && !w.Used && e.end(f, k, w.From) {
		return true
	}
	if e.d.Literal(before) {
		return false
	}
	to, inBase := e.place(before)
	if s, ok := e.sectionStart(r.Target); ok && inBase && to+(r.Target-before) == s {
		return false // both meanings are one address of the base image
	}
	e.refuse(endPointer, "it takes the address %#x, which is the end of an object and the start of a section, and these two do not stay together", uint64(r.Target))
	return true
}

// sectionStart is where the section that starts at t starts in the base image.
func (e *emitter) sectionStart(t image.Addr) (image.Addr, bool) {
	s := e.d.Fixed.SectionAt(t)
	if s == nil || s.Addr != t {
		return 0, false
	}
	if b := e.d.Base.SectionNamed(s.Name); b != nil {
		return b.Addr, true
	}
	return 0, false
}

// code: calls and jumps between carried functions go direct; addresses taken
// are those of the base function, so that pointers stay equal.
func (e *emitter) code(f *diff.Func, r *diff.Ref) {
	g := e.d.Fixed.At(r.Target)
	if g == nil && e.nowhere(f, r) {
		return
	}
	if g == nil {
		e.refuse(referenceUnbound, "it refers to %#x, where no function is", uint64(r.Target))
		return
	}
	flow := r.Kind == diff.Call || r.Kind == diff.Jump || r.Kind == diff.Cond
	a := e.d.BaseOf(g)
	switch {
	case e.c.in[g] && (flow || r.Target != g.Lo || a == nil):
	case a != nil && r.Target == g.Lo:
		e.leave(f, r, a.Lo, a.Name())
	case a != nil && a.Hash == g.Hash:
		to := a.Lo + (r.Target - g.Lo)
		e.leave(f, r, to, a.Name()+"+"+hexAddr(to-a.Lo))
	default:
		e.refuse(referenceUnbound, "it refers to %s, which has no counterpart and is not carried", label(e.d, g))
	}
}

// nowhere: the branch leads to where the code of its own function ends. The
// compiler makes such a branch of a way that is never taken, mostly behind a
// call that does not come back; what lies there is padding, in the fixed image
// as in the object.
func (e *emitter) nowhere(f *diff.Func, r *diff.Ref) bool {
	if r.Kind != diff.Jump && r.Kind != diff.Cond {
		return false
	}
	ends := func(g *diff.Func) bool { return e.c.in[g] && g.Hi == r.Target }
	return ends(f) || slices.ContainsFunc(e.d.Parts(f), ends)
}

func (e *emitter) plt(f *diff.Func, r *diff.Ref) {
	i, ok := e.d.Fixed.PLTName(r.Target)
	if !ok {
		if at, ok := e.indirect(r.Target); ok {
			e.leave(f, r, at, "ifunc "+hexAddr(at))
			return
		}
		e.refuse(ifuncPLT, "it calls an indirect function through the PLT entry at %#x, which has no certain counterpart", uint64(r.Target))
		return
	}
	if e.asks(f, i) {
		return
	}
	if r.Kind == diff.Lea {
		at, ok := e.canonical(i)
		if !ok && r.Form == diff.Abs64 {
			field := f.Lo + image.Addr(r.Field)
			e.settled[field] = true
			e.relocs = append(e.relocs, patch.Reloc{At: uint64(field), Type: patch.Abs64, Sym: e.importSymbol(i), Add: int64(r.Off)})
			return
		}
		if !ok {
			e.refuse(referenceUnbound, "it takes the address of %s of a library, which is another one in the running program and may not fit into 32 bits", i.Name)
			return
		}
		e.leave(f, r, at, i.Name)
		return
	}
	if at, ok := e.basePLT(i); ok {
		e.leave(f, r, at, i.Name)
		return
	}
	if g := newExport(e.d, i); g != nil && e.c.in[g] {
		e.redirect(f, r, g.Lo)
		return
	} else if g != nil && e.d.BaseOf(g) != nil { // nobody in the process knows it by that name
		e.leave(f, r, e.d.BaseOf(g).Lo, i.Name)
		return
	}
	e.redirect(f, r, e.stub(i))
}

// basePLT is the entry of the base image that calls i, in that version.
func (e *emitter) basePLT(i image.Import) (image.Addr, bool) {
	at, ok := e.d.Base.PLTOf(i.Name, i.Version)
	if !ok {
		return 0, false
	}
	p, ok := e.d.Base.PLTName(at)
	return at, ok && diff.SameImport(p, i)
}

// baseGOT is the slot of the base image that holds the address of i.
func (e *emitter) baseGOT(i image.Import) (image.Addr, bool) {
	at, ok := e.d.Base.GOTOf(i.Name, i.Version)
	if !ok {
		return 0, false
	}
	p := e.d.Base.RelocAt(at)
	return at, p != nil && diff.SameImport(image.Import{Name: p.Sym, Version: p.Version}, i)
}

// canonical is the PLT entry of the base image that is the address of an imported
// function for everybody in the process, as one of the fixed image is.
func (e *emitter) canonical(i image.Import) (image.Addr, bool) {
	if _, ok := e.d.Fixed.Canonical(i.Name, i.Version); !ok {
		return 0, false
	}
	return e.d.Base.Canonical(i.Name, i.Version)
}

// indirect maps a PLT entry without a name by the resolver behind it, if both
// images have exactly one entry for that.
func (e *emitter) indirect(at image.Addr) (image.Addr, bool) {
	s, ok := e.d.Fixed.PLTSlot(at)
	if !ok {
		return 0, false
	}
	b, ok := e.indirectSlot(s)
	if !ok {
		return 0, false
	}
	if e.ifuncs == nil {
		e.ifuncs = pltEntries(e.d.Base)
	}
	to, ok := e.ifuncs[b]
	return to, ok
}

// indirectSlot maps a GOT slot that an IFUNC resolver fills.
func (e *emitter) indirectSlot(s image.Addr) (image.Addr, bool) {
	q := e.d.Fixed.RelocAt(s)
	if q == nil || q.Type != elf.R_X86_64_IRELATIVE {
		return 0, false
	}
	g := e.d.Fixed.Entry(image.Addr(q.Add))
	if g == nil || e.d.BaseOf(g) == nil {
		return 0, false
	}
	resolver := e.d.BaseOf(g).Lo
	return only(e.d.Base.Relocs, func(p *image.Reloc) bool {
		return p.Type == elf.R_X86_64_IRELATIVE && image.Addr(p.Add) == resolver
	})
}

// only is the place of the one relocation that fits.
func only(rs []image.Reloc, fits func(*image.Reloc) bool) (image.Addr, bool) {
	found := -1
	for i := range rs {
		if !fits(&rs[i]) {
			continue
		}
		if found >= 0 {
			return 0, false
		}
		found = i
	}
	if found < 0 {
		return 0, false
	}
	return rs[found].At, true
}

// pltEntries are the PLT entries of an image by the GOT slot they use; slots
// that two entries use are left out.
func pltEntries(c *diff.Code) map[image.Addr]image.Addr {
	out := map[image.Addr]image.Addr{}
	twice := map[image.Addr]bool{}
	for _, s := range c.Sections {
		if s.Class != image.PLT {
			continue
		}
		for a := s.Addr; a+16 <= s.Addr+s.Size; a += 16 {
			if slot, ok := c.PLTSlot(a); ok {
				_, twice[slot] = out[slot]
				out[slot] = a
			}
		}
	}
	for slot, t := range twice {
		if t {
			delete(out, slot)
		}
	}
	return out
}

func (e *emitter) got(f *diff.Func, r *diff.Ref) {
	q := e.d.Fixed.RelocAt(r.Target)
	if q == nil {
		e.other(f, r)
		return
	}
	if e.setSlot(f, r, q) {
		return
	}
	switch q.Type {
	case elf.R_X86_64_GLOB_DAT, elf.R_X86_64_JMP_SLOT:
		if same, why := e.d.SameExport(q); !same {
			if e.export(q, why) {
				e.redirect(f, r, e.slot(slot{local: q.SymAddr}))
			}
			return
		}
		e.namedSlot(f, r, image.Import{Name: q.Sym, Version: q.Version})
	case elf.R_X86_64_RELATIVE:
		if t, ok := diff.Pointee(q); ok {
			e.redirect(f, r, e.slot(slot{local: t}))
		}
	case elf.R_X86_64_IRELATIVE:
		if at, ok := e.indirectSlot(r.Target); ok {
			e.leave(f, r, at, "ifunc "+hexAddr(at))
			return
		}
		e.refuse(ifuncPLT, "it calls an indirect function through the GOT slot at %#x, which has no certain counterpart", uint64(r.Target))
	default:
		e.threadSlot(f, r, q)
	}
}

// export judges an exported object of the image that differs, as why says. True:
// it is a constant, of which carried code gets a copy; others go on with the old.
func (e *emitter) export(q *image.Reloc, why string) bool {
	t, _ := diff.Pointee(q)
	i := image.Import{Name: q.Sym, Version: q.Version}
	switch old, _ := e.d.Base.Exported(i); {
	case e.d.ComesFrom(i) != "":
		e.refuse(referenceUnbound, "it %s", why)
	case q.Number != nil:
		e.refuse(dataUnmapped, "it %s", why)
	case !e.d.Fixed.ClassAt(t).Writable():
		e.note(tableCarried, "it brings its own copy of %s, which changed (it %s); pointers to the old one stay with it", q.Sym, why)
		return true
	case e.d.Base.ClassAt(old.Addr).Writable():
		e.refuse(layoutChanged, "it %s", why)
	default:
		e.refuse(dataUnmapped, "it uses the variable %s, which is a constant in the base image", q.Sym)
	}
	return false
}

func (e *emitter) namedSlot(f *diff.Func, r *diff.Ref, i image.Import) {
	if e.asks(f, i) {
		return
	}
	if at, ok := e.baseGOT(i); ok {
		e.leave(f, r, at, i.Name+"@got")
		return
	}
	s := slot{imp: i}
	if sym, ok := e.d.Fixed.Exported(i); ok {
		if _, old := e.d.Base.Exported(i); !old {
			s = slot{local: sym.Addr} // the fixed image itself brings it
		}
	}
	e.redirect(f, r, e.slot(s))
}

// threadSlot binds a slot that holds a thread-local offset or module: the base
// image must have the same.
func (e *emitter) threadSlot(f *diff.Func, r *diff.Ref, q *image.Reloc) {
	if q.Sym == "" && !sameTLS(e.d) {
		e.refuse(newTLS, "it uses thread-local storage, whose layout changed")
		return
	}
	off, _ := e.d.Fixed.ThreadSlot(r.Target)
	i := slices.IndexFunc(e.d.Base.Relocs, func(p image.Reloc) bool {
		was, _ := e.d.Base.ThreadSlot(p.At)
		return p.Type == q.Type && p.Sym == q.Sym && p.Version == q.Version && p.Add == q.Add && was == off
	})
	if i < 0 {
		e.refuse(newTLS, "it uses a thread-local variable that the base image has no slot for (%s)", q.Sym)
		return
	}
	at := e.d.Base.Relocs[i].At // equal slots hold equal values
	e.leave(f, r, at, "tls "+hexAddr(at))
}

// data binds a variable.
func (e *emitter) data(f *diff.Func, k int) {
	r := &f.Refs[k]
	if start, ok := e.d.EndOf(r.Target); ok && r.Kind == diff.Lea && r.Off == 0 {
		if to, ok := e.place(start); ok {
			e.leave(f, r, to+(r.Target-start), e.d.BaseVariableName(to)+" end")
			return
		}
	}
	if r.Off == 0 && e.walks(f, k) {
		return
	}
	b := e.d.Bind(f, k)
	e.uses = append(e.uses, binding{f, r.Target, b})
	switch {
	case b.OK() && e.labels(r.Target):
		e.refuse(referenceUnbound, "the variable %s holds places inside of code that is replaced", e.variableName(r.Target))
	case b.OK():
		if b.How == diff.Aligned || b.How == diff.Interpolated {
			e.note(dataInferred, "the variable at %s is taken to be that at %s of the base image: %s", hexAddr(r.Target), hexAddr(b.Base), b.Why)
		}
		if other, ok := e.bound[b.Base]; ok && other != r.Target && r.Kind == diff.Access {
			e.refuse(dataUnmapped, "the variables %s and %s are both taken to be that at %s of the base image", e.variableName(other), e.variableName(r.Target), hexAddr(b.Base))
		} else if r.Kind == diff.Access {
			e.bound[b.Base] = r.Target
		}
		e.leave(f, r, b.Base, e.d.BaseVariableName(b.Base))
	case b.How == diff.NewVariable:
		e.redirect(f, r, e.variable(r.Target))
	case b.Grew:
		e.refuse(layoutChanged, "it uses a variable of another size: %s", b.Why)
	default:
		e.refuse(dataUnmapped, "the variable %s has no certain counterpart: %s", e.variableName(r.Target), b.Why)
	}
}

func (e *emitter) variableName(a image.Addr) string {
	n := e.d.VariableName(a)
	if n == hexAddr(a) {
		return "at " + n
	}
	return n + " (" + hexAddr(a) + ")"
}

// table binds a table of pointers: that of the base image when it is the same,
// else a copy is carried.
func (e *emitter) table(f *diff.Func, k int) {
	r := &f.Refs[k]
	if r.Off == 0 && e.walks(f, k) {
		return
	}
	if _, end := e.d.EndOf(r.Target); end && r.Kind == diff.Lea {
		if to, ok := e.place(r.Target); ok {
			e.leave(f, r, to, e.d.BaseVariableName(to))
		}
		return // else it stays where the copy of the table ends
	}
	if b := e.d.Bind(f, k); b.OK() && e.sameTable(b.Base, r.Target) {
		e.leave(f, r, b.Base, e.d.BaseVariableName(b.Base))
		return
	}
	if to, ok := e.typeObject(r.Target); ok {
		e.leave(f, r, to, e.d.BaseVariableName(to))
		return
	}
	e.carryTable(r.Target)
}

// other binds what is in no class of its own: starts and ends of sections.
func (e *emitter) other(f *diff.Func, r *diff.Ref) {
	if r.Class == image.TLS {
		e.refuse(newTLS, "it takes the address of the thread-local initial values")
		return
	}
	s := e.d.Fixed.SectionAt(r.Target)
	if s == nil {
		if r.Target == 0 { // the ELF header: the start of the image
			e.leave(f, r, 0, "image")
			return
		}
		e.refuse(referenceUnbound, "it refers to %#x, outside of every section", uint64(r.Target))
		return
	}
	for _, t := range e.d.Base.Sections {
		if t.Name != s.Name {
			continue
		}
		switch r.Target {
		case s.Addr:
			e.leave(f, r, t.Addr, t.Name)
			return
		case s.Addr + s.Size:
			e.leave(f, r, t.Addr+t.Size, t.Name+" end")
			return
		}
	}
	e.refuse(referenceUnbound, "it refers to %#x in %s, which has no counterpart", uint64(r.Target), s.Name)
}
