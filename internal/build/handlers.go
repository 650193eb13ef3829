package build

import (
	"debug/elf"
	"slices"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// Exceptions. A carried function takes along what it does with them: its table
// of .gcc_except_table, which stays at its distance from the code, and an FDE
// that leads to it (frames.go). What leaves the object are the types that are
// caught and the personality routine. Both are found through slots: those of
// the base image where it has equal ones, so that a type is the object that the
// program has always known.

// personalities are the routines whose tables image.ReadLSDA understands.
var personalities = []string{"__gxx_personality_v0", "__gcc_personality_v0", "rust_eh_personality", "__gdc_personality_v0"}

// handlers is what the object needs for exceptions besides code.
type handlers struct {
	tables span                     // of .gcc_except_table
	slots  map[image.Addr]boundSlot // by slot of the fixed image
	refs   int                      // slots that the object brings
	loads  []image.Addr             // opcodes of instructions that must load an address and no longer compute it
	base   map[slotKey]image.Addr   // slots of the base image, read when needed
	types  map[string][]image.Addr  // type objects of the base image by name, read when needed
	frames []image.FDE              // of the fixed image, read when needed
	unwind bool                     // exceptions may have to pass through what is carried
}

// boundSlot is where a slot of the fixed image is found: in the base image or
// in refSpace.
type boundSlot struct {
	at   image.Addr
	base bool
	name string
}

// slotKey is what the loader puts into a slot.
type slotKey struct {
	sym, version string
	add          int64
}

// handle carries what f does with exceptions.
func (e *emitter) handle(f *diff.Func) {
	if f.LSDA == 0 {
		return
	}
	l, err := e.d.Fixed.LSDA(f.LSDA, image.Range{Lo: f.Lo, Hi: f.Hi})
	if err != nil {
		e.refuse(exceptions, "what it does with exceptions cannot be read: %v", err)
		return
	}
	if l.PadsEncoding != 0xff && !image.PCRelative32(l.PadsEncoding) {
		e.refuse(exceptions, "its handlers are found in an unusual way (encoding %#x)", l.PadsEncoding)
		return
	}
	for _, c := range l.Sites {
		if g := e.d.Fixed.At(c.Pad); c.Pad != 0 && (g == nil || g != f && !slices.Contains(e.d.Parts(f), g)) {
			e.refuse(exceptions, "one of its handlers, at %s, is not a part of it", hexAddr(c.Pad))
			return
		}
	}
	e.h.tables.add(l.Lo, l.End)
	for _, t := range l.Types {
		switch {
		case t.Target == 0: // everything
		case !image.PCRelative32(l.TypeEncoding) || !image.Indirect(l.TypeEncoding):
			e.refuse(exceptions, "the types that it catches are found in an unusual way (encoding %#x)", l.TypeEncoding)
			return
		default:
			if s, ok := e.handlerSlot(t.Target); ok {
				e.toSlot(t.Field, s)
			}
		}
	}
	e.personality(f)
}

// personality makes sure that the routine which reads the table of f is known.
func (e *emitter) personality(f *diff.Func) {
	x, err := e.frame(f)
	if err != nil || x == nil || !x.CIE.HasPersonality {
		e.refuse(exceptions, "nothing says how its handlers are found")
		return
	}
	q := e.d.Fixed.RelocAt(x.CIE.PersonalityAt)
	if q == nil {
		e.refuse(exceptions, "the routine that finds its handlers is not found through a slot")
		return
	}
	if q.Sym != "" && !slices.Contains(personalities, q.Sym) {
		e.refuse(exceptions, "its handlers are found by %s, whose tables hotpatch does not know", q.Sym)
		return
	}
	e.handlerSlot(x.CIE.PersonalityAt)
}

// frame is the FDE of f; nil: it has none.
func (e *emitter) frame(f *diff.Func) (*image.FDE, error) {
	if e.h.frames == nil {
		fdes, err := fdesOf(e.d.Fixed)
		if err != nil {
			return nil, err
		}
		e.h.frames = fdes
	}
	return frameAt(e.h.frames, f.Lo), nil
}

// handlerSlot finds the slot that stands for one of the fixed image.
func (e *emitter) handlerSlot(slot image.Addr) (boundSlot, bool) {
	if s, ok := e.h.slots[slot]; ok {
		return s, true
	}
	q := e.d.Fixed.RelocAt(slot)
	if q == nil || q.Type != elf.R_X86_64_64 && q.Type != elf.R_X86_64_GLOB_DAT && q.Type != elf.R_X86_64_RELATIVE {
		e.refuse(exceptions, "the loader does not fill the slot at %s, through which it handles exceptions", hexAddr(slot))
		return boundSlot{}, false
	}
	if e.h.slots == nil {
		e.h.slots = map[image.Addr]boundSlot{}
	}
	if q.Sym != "" {
		if at, ok := e.baseSlots()[keyOf(q)]; ok { // equal slots hold equal values
			e.h.slots[slot] = boundSlot{at: at, base: true, name: q.Sym + "@slot"}
			return e.h.slots[slot], true
		}
	}
	s := boundSlot{at: e.ref()}
	e.h.slots[slot] = s
	r := *q
	if r.Type == elf.R_X86_64_GLOB_DAT {
		r.Type, r.Add = elf.R_X86_64_64, 0
	}
	e.store(s.at, &r)
	return s, true
}

// ref is a slot that the object brings, still empty.
func (e *emitter) ref() image.Addr {
	e.h.refs++
	return refSpace + image.Addr((e.h.refs-1)*slotSize)
}

func keyOf(r *image.Reloc) slotKey {
	k := slotKey{r.Sym, r.Version, r.Add}
	if r.Type == elf.R_X86_64_GLOB_DAT {
		k.add = 0
	}
	return k
}

// baseSlots are the slots of the base image that the loader fills by name and
// nobody writes: constants, and what its own exception tables refer to. (Other
// variables of the program may hold something else by now.)
func (e *emitter) baseSlots() map[slotKey]image.Addr {
	if e.h.base != nil {
		return e.h.base
	}
	e.h.base = map[slotKey]image.Addr{}
	add := func(r *image.Reloc) {
		if r == nil || r.Sym == "" || r.Type != elf.R_X86_64_64 && r.Type != elf.R_X86_64_GLOB_DAT {
			return
		}
		if _, ok := e.h.base[keyOf(r)]; !ok {
			e.h.base[keyOf(r)] = r.At
		}
	}
	for i := range e.d.Base.Relocs {
		r := &e.d.Base.Relocs[i]
		if c := e.d.Base.ClassAt(r.At); c == image.GOT || c == image.RelRO {
			add(r)
		}
	}
	fdes, err := fdesOf(e.d.Base)
	if err != nil {
		return e.h.base // they are only one source
	}
	for i := range fdes {
		x := &fdes[i]
		if x.LSDA == 0 {
			continue
		}
		if x.CIE.HasPersonality {
			add(e.d.Base.RelocAt(x.CIE.PersonalityAt))
		}
		l, err := e.d.Base.LSDA(x.LSDA, image.Range{Lo: x.Lo, Hi: x.Hi})
		if err != nil || !image.Indirect(l.TypeEncoding) {
			continue
		}
		for _, t := range l.Types {
			add(e.d.Base.RelocAt(t.Target))
		}
	}
	return e.h.base
}

// toSlot makes the 32-bit distance at a field lead to a slot.
func (e *emitter) toSlot(field image.Addr, s boundSlot) {
	if s.base {
		e.relocs = append(e.relocs, patch.Reloc{At: uint64(field), Type: patch.PC32, Sym: e.baseSymbol(s.at, s.name)})
		return
	}
	e.fixups = append(e.fixups, fixup{at: field, to: s.at})
}

// typeObject is the base image's type object that the one at t stands for. Types are
// the same when their names are, and those of no other file (their names start
// with *) when they are one object.
func (e *emitter) typeObject(t image.Addr) (image.Addr, bool) {
	name := typeName(e.d.Fixed, t)
	if name == "" {
		return 0, false
	}
	if e.h.types == nil {
		e.h.types = map[string][]image.Addr{}
		for i := range e.d.Base.Relocs {
			at := e.d.Base.Relocs[i].At
			if n := typeName(e.d.Base, at); n != "" {
				e.h.types[n] = append(e.h.types[n], at)
			}
		}
	}
	as := e.h.types[name]
	if len(as) == 1 && e.d.SameTable(as[0], t) {
		return as[0], true
	}
	if len(as) > 0 && name[0] == '*' {
		// A copy would be another type: what the program throws would not be caught.
		e.refuse(exceptions, "it uses the type %s, and which of the program's %d is meant, or whether it is still the same, is uncertain", name[1:], len(as))
		return as[0], true
	}
	return 0, false
}

// typeName is the name of the type object at t (Itanium C++ ABI §2.9.5: the
// address of a vtable of the runtime's, and of the name); "": there is none.
func typeName(c *diff.Code, t image.Addr) string {
	q := c.RelocAt(t)
	if q == nil || !strings.HasPrefix(q.Sym, "_ZTVN10__cxxabiv1") {
		return ""
	}
	p := c.RelocAt(t + 8)
	if p == nil {
		return ""
	}
	at, ok := diff.Pointee(p)
	if !ok {
		return ""
	}
	n := c.CString(at)
	if n < 2 {
		return ""
	}
	return string(c.Bytes(at, n-1))
}

// exceptions notes whether exceptions may have to pass through what is carried,
// and refuses what nobody could tell of it.
func (e *emitter) exceptions() {
	own := ownUnwinder(e.d.Fixed.Image) || ownUnwinder(e.d.Base.Image)
	throws := importsExceptions(e.d.Fixed.Image) || definesUnwinder(e.d.Fixed.Image)
	for _, f := range e.c.list {
		if f.LSDA == 0 && !(throws && f.Calls) {
			continue
		}
		e.h.unwind = true
		if own {
			e.now = f
			e.refuse(exceptions, "the image brings an unwinder of its own, which cannot be told of carried code")
			e.now = nil
			if !e.c.all {
				return
			}
		}
	}
}

// importsExceptions says whether the image takes part in exceptions of others.
func importsExceptions(m *image.Image) bool {
	return imports(m, "__gxx_personality_v0", "__cxa_throw", "__cxa_begin_catch", "_Unwind_Resume", "_Unwind_RaiseException")
}

// ownUnwinder says whether the image is an unwinder or has libgcc's linked into
// it: that asks the loader for unwind data itself. Others that ask (for
// backtraces) use the unwinder of libgcc_s as well.
func ownUnwinder(m *image.Image) bool {
	return definesUnwinder(m) || imports(m, "dl_iterate_phdr", "_dl_find_object") &&
		!imports(m, "_Unwind_Resume", "_Unwind_RaiseException", "_Unwind_Backtrace", "_Unwind_GetIP", "_Unwind_ForcedUnwind")
}

// definesUnwinder: libgcc_s and its kin look for themselves on the stack.
func definesUnwinder(m *image.Image) bool {
	_, ok := m.Dynamic("_Unwind_RaiseException")
	return ok
}

func imports(m *image.Image, names ...string) bool {
	return slices.ContainsFunc(m.Relocs, func(r image.Reloc) bool {
		return r.Sym != "" && r.SymAddr == 0 && slices.Contains(names, r.Sym)
	})
}
