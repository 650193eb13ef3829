package diff

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// Handover says that the changed code seems to give a pointer another owner:
// objects that old code filled would be freed wrongly by new code.
type Handover struct {
	Frees  *Func  // changed; frees the member
	Stores *Func  // changed; what it stores there has another source. May be Frees
	Freed  *Func  // instead of Stores: it freed the member before, and no longer does
	Offset int64  // of the member in its object, bytes
	Callee string // what frees
	Was    string // where the pointer came from: functions, "elsewhere"
	Is     string
}

// Handovers looks through the changed code for pointers that change hands:
//
//   - one changed function frees a member (free(p->m)), and a changed function
//     stores into a member of that offset what it got from another function
//     than before: its own copy in place of a borrowed pointer, or the reverse;
//   - one function no longer frees a member, and another one now does.
//
// Seen in libpng (CVE-2026-33416: png_struct got palettes of its own instead of
// those of png_info) and libxml2 (CVE-2022-40304: an entity's content was no
// longer of the dictionary). No comparison of layouts shows it. Registers are
// followed in straight lines only, and the type of an object is not known: a
// sign, no proof, in either direction.
func (d *Diff) Handovers() []Handover { return d.handovers }

func (d *Diff) findHandovers() []Handover {
	pairs := d.changedCustody()
	var out []Handover
	add := func(h Handover) {
		if !slices.ContainsFunc(out, func(o Handover) bool { return o.Frees == h.Frees && o.Offset == h.Offset }) {
			out = append(out, h)
		}
	}
	for _, f := range pairs {
		for _, at := range f.freed() {
			for _, g := range pairs {
				was, is, differs := g.origins(at)
				if differs {
					add(Handover{Frees: f.fn, Stores: g.fn, Offset: at, Callee: f.frees(at), Was: was, Is: is})
				}
			}
		}
	}
	for _, f := range pairs {
		for _, at := range f.freed() {
			if len(f.base.free[at]) == 0 || len(f.fixed.free[at]) != 0 {
				continue
			}
			for _, g := range pairs {
				if g != f && !destroys(g.frees(at)) && len(g.base.free[at]) == 0 && len(g.fixed.free[at]) != 0 {
					add(Handover{Frees: g.fn, Freed: f.fn, Offset: at, Callee: g.frees(at)})
				}
			}
		}
	}
	return out
}

// custodyPair is what both versions of a function do with members.
type custodyPair struct {
	fn          *Func // fixed
	base, fixed *custody
}

// custody is what a function frees and stores, by offset of the member.
type custody struct {
	free  map[int64][]string
	store map[int64][]string // origins
}

// changedCustody are those of all functions whose code differs; a cold part
// counts as its parent.
func (d *Diff) changedCustody() []*custodyPair {
	var out []*custodyPair
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if !b.described() || d.state[i] != Changed && d.state[i] != New || a != nil && a.Hash == b.Hash {
			continue
		}
		p := &custodyPair{fn: b, base: newCustody(), fixed: newCustody()}
		d.followOwners(d.Fixed, b, p.fixed)
		if a != nil {
			d.followOwners(d.Base, a, p.base)
		}
		if b.Fragment {
			if k := slices.IndexFunc(out, func(o *custodyPair) bool { return slices.Contains(d.parts[b], o.fn) }); k >= 0 {
				out[k].base.merge(p.base)
				out[k].fixed.merge(p.fixed)
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func newCustody() *custody { return &custody{map[int64][]string{}, map[int64][]string{}} }

func (f *custody) merge(g *custody) {
	for at, v := range g.free {
		f.free[at] = append(f.free[at], v...)
	}
	for at, v := range g.store {
		f.store[at] = append(f.store[at], v...)
	}
}

// freed are the offsets of members that either version frees.
func (p *custodyPair) freed() []int64 {
	var out []int64
	for _, f := range []*custody{p.base, p.fixed} {
		for at := range f.free {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (p *custodyPair) frees(at int64) string {
	for _, f := range []*custody{p.fixed, p.base} {
		if len(f.free[at]) > 0 {
			return f.free[at][0]
		}
	}
	return ""
}

// origins compares where the pointers stored at an offset come from. It tells
// of a difference only if an allocator's result is stored in one version and
// what somebody else owns in the other.
func (p *custodyPair) origins(at int64) (was, is string, differs bool) {
	x, y := unique(p.base.store[at]), unique(p.fixed.store[at])
	if len(x) == 0 || len(y) == 0 || slices.Equal(x, y) {
		return "", "", false
	}
	lost := slices.DeleteFunc(slices.Clone(x), func(s string) bool { return slices.Contains(y, s) })
	won := slices.DeleteFunc(slices.Clone(y), func(s string) bool { return slices.Contains(x, s) })
	changes := slices.ContainsFunc(lost, borrowed) && slices.ContainsFunc(y, allocated) ||
		slices.ContainsFunc(won, borrowed) && slices.ContainsFunc(x, allocated)
	return strings.Join(x, ", "), strings.Join(y, ", "), changes
}

// destroys: C++ frees members in destructors, which compilers put into whatever
// function an object ends in.
func destroys(callee string) bool { return strings.HasPrefix(callee, "_Zd") }

func unique(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

const elsewhere = "elsewhere"

var (
	freeNames  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)free|dealloc|^_Zd[la]Pv`) })
	allocNames = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)alloc|dup|copy|clone|create|_new|new_|asprintf|^_Zn[wa]m`)
	})
)

func allocated(source string) bool {
	return source != elsewhere && allocNames().MatchString(source) && !freeNames().MatchString(source)
}
func borrowed(source string) bool { return !allocated(source) }

// source of a register's content.
type source struct {
	kind byte // 0: unknown, else as below
	at   int64
	name string
}

const (
	fromMember = 'm' // loaded from *(register + at)
	fromCall   = 'c' // result of name
	fromImport = 'i' // address of the imported name
)

// followOwners goes through f from top to bottom and notes what it frees and stores.
func (d *Diff) followOwners(c *Code, f *Func, out *custody) {
	const rax, rsi, rdi = 0, 6, 7
	code := c.Text(f)
	var regs [16]source
	for _, t := range d.tokensOf(c, f) {
		in, b := &t.in, code[t.at:]
		if in.Len == 0 {
			regs = [16]source{}
			continue
		}
		var ref *Ref
		if t.ref >= 0 {
			ref = &f.Refs[t.ref]
		}
		if in.IsCall() || in.IsJump() && (ref != nil || in.IsIndirect()) {
			name := d.calleeName(c, in, ref, &regs)
			if freeNames().MatchString(name) {
				for _, r := range []int{rdi, rsi} {
					if o := regs[r]; o.kind == fromMember {
						out.free[o.at] = append(out.free[o.at], name)
						break
					}
				}
			}
			for _, r := range []int{0, 1, 2, 6, 7, 8, 9, 10, 11} {
				regs[r] = source{}
			}
			if in.IsCall() {
				regs[rax] = source{kind: fromCall, name: name}
			}
		}
		if !in.FallsThrough() {
			regs = [16]source{}
			continue
		}
		c.track(in, b, ref, &regs, out)
	}
}

// track follows one instruction that is no branch.
func (c *Code) track(in *arch.Inst, b []byte, ref *Ref, regs *[16]source, out *custody) {
	if in.Rel || in.IsCall() || in.Vector {
		return
	}
	reg, rm := registersOf(in, b)
	memory := in.HasMemory()
	switch {
	case in.Map == 0 && in.Op == 0x8b && in.Wide && memory: // mov mem, reg
		regs[reg] = source{}
		switch {
		case ref != nil && ref.Class == image.GOT:
			regs[reg] = source{kind: fromImport, name: gotKey(c, ref.Target).sym}
		case ref == nil && isMember(in, b):
			regs[reg] = source{kind: fromMember, at: in.Disp(b)}
		}
	case in.Map == 0 && in.Op == 0x8b && in.Wide:
		regs[reg] = regs[rm]
	case in.Map == 0 && in.Op == 0x89 && in.Wide && !memory:
		regs[rm] = regs[reg]
	case in.Map == 0 && in.Op == 0x89 && memory: // mov reg, mem
		if in.Wide && ref == nil && isMember(in, b) {
			from := elsewhere
			if regs[reg].kind == fromCall {
				from = regs[reg].name
			}
			at := in.Disp(b)
			out.store[at] = append(out.store[at], from)
		}
	case reads(in):
	case in.Map == 0 && in.Op >= 0xb8 && in.Op <= 0xbf || in.Map == 0 && in.Op >= 0x58 && in.Op <= 0x5f:
		regs[rm] = source{}
	case in.HasModRM:
		regs[reg] = source{}
		if !memory {
			regs[rm] = source{}
		}
	default:
		regs[0], regs[2] = source{}, source{}
	}
}

// reads: the instruction only compares or tests.
func reads(in *arch.Inst) bool {
	if in.Map != 0 {
		return false
	}
	switch in.Op {
	case 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x84, 0x85, 0xa8, 0xa9:
		return true
	case 0x80, 0x81, 0x83:
		return in.Reg() == 7
	case 0xf6, 0xf7:
		return in.Reg() < 2
	case 0xc6, 0xc7:
		return true // writes memory only
	}
	return in.Op >= 0x50 && in.Op <= 0x57 // push
}

// isMember: the operand is a member of an object that a register points to, not
// on the stack and not in a variable. What is at offset 0 of an object is as
// often the object itself.
func isMember(in *arch.Inst, b []byte) bool {
	const rsp = 4
	return in.Base != arch.NoReg && in.Base != arch.RIP && in.Base != rsp && in.Index == arch.NoReg && in.Disp(b) > 0 && !in.FS
}

// registersOf are the registers that ModRM names, extended by REX. For opcodes
// that hold a register themselves, rm is that.
func registersOf(in *arch.Inst, b []byte) (reg, rm int) {
	rex := byte(0)
	for _, x := range b[:in.Len] {
		if x >= 0x40 && x <= 0x4f {
			rex = x
			break
		}
		switch x {
		case 0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf0:
			continue
		}
		break
	}
	reg, rm = int(in.ModRM>>3&7)|int(rex&4)<<1, int(in.ModRM&7)|int(rex&1)<<3
	if !in.HasModRM {
		rm = int(in.Op&7) | int(rex&1)<<3
	}
	return reg, rm
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
	case image.PLT:
		i, _ := c.PLTName(ref.Target)
		return i.Name
	case image.GOT:
		return gotKey(c, ref.Target).sym
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
			case r.Class == image.PLT:
				i, _ := c.PLTName(r.Target)
				name = i.Name
			case r.Class == image.GOT:
				name = gotKey(c, r.Target).sym
			case r.Class == image.Text:
				if g := c.Entry(r.Target); g != nil && g != f {
					name = d.roleOf(c, g, depth+1)
				}
			}
			switch {
			case freeNames().MatchString(name):
				return "free by way of a function"
			case allocNames().MatchString(name):
				return "alloc by way of a function"
			}
		}
	}
	if c == d.Fixed && d.baseOf[f.Index] != nil {
		f = d.baseOf[f.Index]
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}
