package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// source of a register's content.
type source struct {
	kind byte // 0: unknown, else as below
	at   Held
	of   int // fromMember: the object, by the id of what pointed to it
	name string
	id   int // of the value, one for all copies of it
}

const (
	fromMember = 'm' // loaded from an object, or from a variable
	fromCall   = 'c' // result of name
	fromImport = 'i' // address of the imported name
)

// owners follows one function.
type owners struct {
	d    *Diff
	c    *Code
	out  *custody
	regs [16]source
	ids  int // so many values so far

	// What is at offset 0 of an object is as often the object itself, so it counts
	// when the object is used as one: as what lives on, of what is freed, and as what
	// has other members, of what is stored.
	freed   []firstMember
	stored  []firstMember
	members []bool // by id: the value points to an object of which a later member is used
}

// firstMember is that what is at offset 0 of an object is freed or stored.
type firstMember struct {
	of   int // value that points to it
	name string
}

func (w *owners) set(r int, s source) {
	if s.id == 0 {
		w.ids++
		s.id = w.ids
	}
	w.regs[r] = s
}

func (w *owners) forget() { w.lose(arch.AllRegisters) }

// followOwners goes through f from top to bottom and notes what it frees and stores.
func (d *Diff) followOwners(c *Code, f *Func, out *custody) {
	const rax, rsi, rdi = 0, 6, 7
	code := c.Text(f)
	w := &owners{d: d, c: c, out: out}
	w.forget()
	for _, t := range d.tokensOf(c, f) {
		in, b := &t.in, code[t.at:]
		if in.Len == 0 {
			w.forget()
			continue
		}
		var ref *Ref
		if t.ref >= 0 {
			ref = &f.Refs[t.ref]
		}
		if in.IsCall() || in.IsJump() && (ref != nil || in.IsIndirect()) {
			name := d.calleeName(c, in, ref, &w.regs)
			if freeNames().MatchString(name) {
				if o, ok := freedOf(w.regs[rdi], w.regs[rsi]); ok {
					w.frees(o, name)
				}
			}
			w.lose(arch.CallClobbered)
			if in.IsCall() {
				w.set(rax, source{kind: fromCall, name: name})
			}
		}
		if !in.FallsThrough() {
			w.forget()
			continue
		}
		given := t.refs > 0 && in.ImmLen > 0 && f.Refs[t.ref+t.refs-1].Field == t.at+uint32(in.ImmOff)
		if given && t.refs == 1 {
			ref = nil
		}
		w.track(in, b, ref, given)
	}
	for _, s := range w.stored {
		if s.of < len(w.members) && w.members[s.of] {
			out.store[Held{}] = append(out.store[Held{}], s.name)
		}
	}
}

// freedOf is which of two arguments is freed. The first may be what it is freed from,
// which is found at the start of an object, or in a variable, more often than in the
// middle of an object.
func freedOf(first, second source) (source, bool) {
	for _, o := range []source{first, second} {
		if o.kind == fromMember && o.at.Offset > 0 {
			return o, true
		}
	}
	for _, o := range []source{first, second} {
		if o.kind == fromMember {
			return o, true
		}
	}
	return source{}, false
}

// frees notes that what o was loaded from is freed.
func (w *owners) frees(o source, name string) {
	if o.at == (Held{}) {
		w.freed = append(w.freed, firstMember{o.of, name})
		return
	}
	w.out.free[o.at] = append(w.out.free[o.at], name)
}

// stores notes that what comes from name is stored in a place.
func (w *owners) stores(at Held, of int, name string) {
	if at == (Held{}) {
		w.stored = append(w.stored, firstMember{of, name})
		return
	}
	w.out.store[at] = append(w.out.store[at], name)
}

// uses notes that an object is used at an offset.
func (w *owners) uses(of int, at int64) {
	if at > 0 {
		if of >= len(w.members) {
			w.members = append(w.members, make([]bool, 2*w.ids-len(w.members)+1)...)
		}
		w.members[of] = true
	}
	if len(w.freed) == 0 {
		return
	}
	w.freed = slices.DeleteFunc(w.freed, func(m firstMember) bool {
		if m.of == of {
			w.out.free[Held{}] = append(w.out.free[Held{}], m.name)
		}
		return m.of == of
	})
}

// held is the variable or the member that an operand is; of says of which object.
func (w *owners) held(in *arch.Inst, b []byte, ref *Ref) (at Held, of int, ok bool) {
	switch {
	case ref != nil:
		if !ref.Class.Writable() || ref.Kind != Access || ref.Indexed || in.Base != arch.RIP && in.Base != arch.NoReg {
			return Held{}, 0, false
		}
		if w.c == w.d.Base {
			return Held{Variable: ref.Target}, 0, true
		}
		m := w.d.Map(ref.Target)
		return Held{Variable: m.Base}, 0, m.OK()
	case isMember(in, b):
		return Held{Offset: in.Disp(b)}, w.regs[in.Base].id, true
	}
	return Held{}, 0, false
}

// track follows one instruction that is no branch. ref is that of its operand in
// memory; given says that its immediate is an address.
func (w *owners) track(in *arch.Inst, b []byte, ref *Ref, given bool) {
	if in.HasMemory() && ref == nil && isMember(in, b) {
		w.uses(w.regs[in.Base].id, in.Disp(b))
	}
	if in.Rel || in.IsCall() {
		return
	}
	reg, rm := in.Named(b)
	memory := in.HasMemory()
	switch {
	case in.Map == 0 && in.Op == 0x8b && in.Wide && memory: // mov mem, reg
		if ref != nil && ref.Class == image.GOT {
			w.set(reg, source{kind: fromImport, name: gotKey(w.c, ref.Target).sym})
		} else if at, of, ok := w.held(in, b, ref); ok {
			w.set(reg, source{kind: fromMember, at: at, of: of})
		} else {
			w.set(reg, source{})
		}
	case in.Map == 0 && in.Op == 0x8b && in.Wide:
		w.regs[reg] = w.regs[rm]
	case in.Map == 0 && in.Op == 0x89 && in.Wide && !memory:
		w.regs[rm] = w.regs[reg]
	case in.Map == 0 && in.Op == 0x89 && memory: // mov reg, mem
		if at, of, ok := w.held(in, b, ref); ok && in.Wide {
			from := elsewhere
			if w.regs[reg].kind == fromCall {
				from = w.regs[reg].name
			}
			w.stores(at, of, from)
		}
	case in.Map == 0 && in.Op == 0xc7 && given && memory:
		if at, of, ok := w.held(in, b, ref); ok && in.Wide {
			w.stores(at, of, elsewhere)
		}
	default:
		w.lose(in.Writes(b))
	}
}

// lose is for registers that hold something else now.
func (w *owners) lose(which arch.Registers) {
	for r := range w.regs {
		if which.Has(r) {
			w.set(r, source{})
		}
	}
}

// isMember: the operand is a member of an object that a register points to, not
// on the stack and not in a variable.
func isMember(in *arch.Inst, b []byte) bool {
	const rsp = 4
	return in.Base != arch.NoReg && in.Base != arch.RIP && in.Base != rsp && in.Index == arch.NoReg && in.Disp(b) >= 0 && !in.FS
}

// calleeName names what is called, alike in both images: by import or symbol. A
// function without either is an allocator or frees if it is short and does
// nothing but call one that is known to.
func (d *Diff) calleeName(c *Code, in *arch.Inst, ref *Ref, regs *[16]source) string {
	if ref == nil {
		if in.IsIndirect() {
			r := int(in.ModRM & 7)
			if in.HasMemory() {
				r = int(in.Base)
			}
			if r >= 0 && r < 16 && regs[r].kind == fromImport {
				return regs[r].name
			}
		}
		return "a function pointer"
	}
	switch ref.Class {
	case image.PLT, image.GOT:
		return c.importName(ref.Class, ref.Target)
	case image.Text:
		if f := c.Entry(ref.Target); f != nil {
			return d.roleOf(c, f, 0)
		}
	case image.Data, image.BSS:
		for _, s := range c.SymbolsAt(ref.Target) {
			return s.Name
		}
	}
	return "a function"
}

// roleOf is the symbol of f, or what stands for it.
func (d *Diff) roleOf(c *Code, f *Func, depth int) string {
	if len(f.Names) > 0 {
		return names.Stem(f.Names[0])
	}
	const short, deep = 60, 3
	if f.Insts <= short && depth < deep {
		for k := range f.Refs {
			r := &f.Refs[k]
			name := ""
			switch {
			case r.Kind == Lea:
			case r.Class == image.Text:
				if g := c.Entry(r.Target); g != nil && g != f {
					name = d.roleOf(c, g, depth+1)
				}
			default:
				name = c.importName(r.Class, r.Target)
			}
			switch {
			case freeNames().MatchString(name):
				return "free" + byWayOf
			case allocNames().MatchString(name):
				return "alloc" + byWayOf
			}
		}
	}
	if c == d.Fixed && d.baseOf[f.Index] != nil {
		f = d.baseOf[f.Index]
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}
