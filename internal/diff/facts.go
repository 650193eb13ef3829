package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Another compiler puts the instructions of a function into another order, so
// that which address of a function is the counterpart of which does not follow
// from their places. What becomes of them does: the one that is stored 0x88
// bytes into an object by the one function is stored there by the other, and
// what is handed to g_signal_connect next to the string "changed" is handed to
// it there, too. (A class of GObject is filled in so; alignment takes two of
// its methods for each other where the compiler began to store them in pairs.)

// factKind says what becomes of an address.
type factKind uint8

const (
	storedAt factKind = iota + 1 // at a distance from a pointer
	storedIn                     // in a variable
	handedTo                     // to a function, as an argument
)

// fact is what one instruction does with the address of a function.
type fact struct {
	kind  factKind
	n     int32      // the distance, or the number of the argument
	to    image.Addr // the variable, or the called function of the image
	name  string     // the called import
	words uint64     // a hash of the strings that are handed over with it
	value image.Addr // the entry of the function; 0: something else, or it is not known

	at   uint32 // of a store by a vector register: the instruction, as offset in the function
	pair bool   // it is such
}

// values are what registers hold, as far as it is an address of the image: of
// a function or of a string. 0: not known.
type values struct {
	gp   [16]image.Addr
	xmm  [16][2]image.Addr
	used [16]bool // stored already: what is left in an argument's register then is no argument
}

// factsOf follows addresses of functions through the straight stretches of f.
// Where two ways meet, nothing is known.
func (c *Code) factsOf(f *Func) []fact {
	if !slices.ContainsFunc(f.Refs, func(r Ref) bool {
		return r.Kind == Lea && r.Class == image.Text || (r.Kind != Call && r.Kind != Jump) && (r.Class == image.RelRO || r.Class == image.GOT)
	}) {
		return nil
	}
	code := c.Text(f)
	meets := map[int]bool{}
	c.scan(f, code, func(at int, in *arch.Inst, _ []Ref) {
		if in.Rel && !in.IsCall() {
			meets[at+int(in.Len)+int(in.Imm(code[at:]))] = true
		}
	})
	var v values
	var out []fact
	c.scan(f, code, func(at int, in *arch.Inst, refs []Ref) {
		var r *Ref // absolute ones are not followed
		if len(refs) > 0 && refs[0].Form == Relative {
			r = &refs[0]
		}
		if meets[at] || in.Len == 0 {
			v = values{}
		}
		if in.Len == 0 {
			return
		}
		switch {
		case in.IsCall() || in.IsJump() && r != nil:
			out = c.handed(out, &v, r)
			v.call()
		case !in.FallsThrough():
			v = values{}
		default:
			out = c.follow(out, &v, in, code[at:], r, uint32(at))
		}
	})
	return out
}

// call forgets what the psABI lets a call change.
func (v *values) call() {
	v.forget(arch.CallClobbered)
	v.xmm = [16][2]image.Addr{}
}

// handed adds the functions among the arguments of a call.
func (c *Code) handed(out []fact, v *values, r *Ref) []fact {
	if r == nil {
		return out
	}
	g := fact{kind: handedTo}
	if g.name = c.importName(r.Class, r.Target); r.Class == image.Text {
		g.to = r.Target
	}
	if g.to == 0 && g.name == "" {
		return out
	}
	const prime = 0x9E3779B97F4A7C15
	for n, reg := range argumentRegisters {
		if a := v.gp[reg]; a != 0 && c.ClassAt(a) == image.ROData {
			g.words = (g.words ^ hash(c.Bytes(a, c.CString(a))) + uint64(n)) * prime
		}
	}
	for n, reg := range argumentRegisters {
		g.n, g.value = int32(n), 0
		if a := v.gp[reg]; a != 0 && !v.used[reg] && c.ClassAt(a) == image.Text {
			g.value = a
		}
		out = append(out, g)
	}
	return out
}

// follow applies one instruction that is no branch, at an offset of its function.
func (c *Code) follow(out []fact, v *values, in *arch.Inst, code []byte, r *Ref, at uint32) []fact {
	switch {
	case in.Vector:
		*v = values{}
		return out
	case !in.HasModRM:
		v.forget(in.Writes(code))
		return out
	}
	o := operandsOf(in, code)
	memory := o.rm < 0
	store := func(off int32, a image.Addr) {
		if c.ClassAt(a) != image.Text {
			a = 0
		}
		g := fact{kind: storedAt, n: int32(in.Disp(code)) + off, value: a, at: at, pair: in.Map == 1}
		switch {
		case r != nil:
			g.kind, g.n, g.to = storedIn, 0, r.Target+image.Addr(off)
		case in.Base == arch.NoReg || in.Base == rsp || in.Index != arch.NoReg:
			return
		}
		out = append(out, g)
	}
	load := func(off image.Addr) image.Addr {
		if r == nil || in.Base != arch.RIP {
			return 0
		}
		return c.constantPointer(r.Target + off)
	}
	half := func() image.Addr { // the low half of the source
		if memory {
			return load(0)
		}
		return v.xmm[o.rm][0]
	}
	type op struct{ prefix, op byte }
	switch {
	case in.Map == 0 && in.Op == 0x8d: // lea
		v.gp[o.reg], v.used[o.reg] = 0, false
		if r != nil && r.Kind == Lea {
			v.gp[o.reg] = r.Target
		}
	case in.Map == 0 && in.Op == 0x8b && memory:
		v.gp[o.reg], v.used[o.reg] = 0, false
		if in.Wide {
			v.gp[o.reg] = load(0)
		}
	case in.Map == 0 && in.Op == 0x8b && in.Wide:
		v.gp[o.reg], v.used[o.reg] = v.gp[o.rm], v.used[o.rm]
	case in.Map == 0 && in.Op == 0x89 && memory:
		if in.Wide {
			store(0, v.gp[o.reg])
			v.used[o.reg] = true
		}
	case in.Map == 0 && in.Op == 0x89 && in.Wide:
		v.gp[o.rm], v.used[o.rm] = v.gp[o.reg], v.used[o.reg]
	case in.Map != 1:
		v.clear(in, code, o)
	default:
		switch (op{o.prefix, in.Op}) {
		case op{0x66, 0x6e}: // movq, movd to xmm
			v.xmm[o.reg] = [2]image.Addr{}
			if in.Wide && !memory {
				v.xmm[o.reg][0] = v.gp[o.rm]
				v.used[o.rm] = true
			} else if in.Wide {
				v.xmm[o.reg][0] = load(0)
			}
		case op{0xf3, 0x7e}: // movq
			v.xmm[o.reg] = [2]image.Addr{half(), 0}
		case op{0x66, 0x6c}: // punpcklqdq
			v.xmm[o.reg][1] = half()
		case op{0, 0x16}, op{0x66, 0x16}: // movhps, movlhps, movhpd
			v.xmm[o.reg][1] = half()
		case op{0, 0x12}, op{0x66, 0x12}: // movlps from memory; movhlps
			v.xmm[o.reg][0] = load(0)
		case op{0, 0x10}, op{0, 0x28}, op{0x66, 0x10}, op{0x66, 0x28}, op{0x66, 0x6f}, op{0xf3, 0x6f}: // whole registers
			if memory {
				v.xmm[o.reg] = [2]image.Addr{load(0), load(8)}
			} else {
				v.xmm[o.reg] = v.xmm[o.rm]
			}
		case op{0, 0x11}, op{0, 0x29}, op{0x66, 0x11}, op{0x66, 0x29}, op{0x66, 0x7f}, op{0xf3, 0x7f}:
			if memory {
				store(0, v.xmm[o.reg][0])
				store(8, v.xmm[o.reg][1])
			} else {
				v.xmm[o.rm] = v.xmm[o.reg]
			}
		case op{0x66, 0xd6}, op{0, 0x13}, op{0x66, 0x13}: // movq, movlps to memory
			if memory {
				store(0, v.xmm[o.reg][0])
			} else {
				v.clear(in, code, o)
			}
		case op{0, 0x17}, op{0x66, 0x17}: // movhps to memory
			if memory {
				store(0, v.xmm[o.reg][1])
			}
		default:
			v.clear(in, code, o)
		}
	}
	return out
}

// constantPointer is the address that the loader puts at a, where nobody
// changes it afterwards; 0: none that is known.
func (c *Code) constantPointer(a image.Addr) image.Addr {
	if k := c.ClassAt(a); k != image.RelRO && k != image.GOT {
		return 0
	}
	p := c.RelocAt(a)
	if p == nil {
		return 0
	}
	if t, ok := Pointee(p); ok {
		return t
	}
	if s, ok := c.Dynamic(p.Sym); ok && p.Sym != "" {
		return s.Addr
	}
	return 0
}

// operands are those of an instruction with ModRM, general or vector registers;
// rm is -1 in memory.
type operands struct {
	reg, rm int
	prefix  byte // 66, f3, f2 or 0
}

func operandsOf(in *arch.Inst, code []byte) operands {
	var o operands
	o.reg, o.rm = in.Named(code)
	for _, b := range code[:in.Len] {
		switch b {
		case 0xf2, 0xf3:
			o.prefix = b
		case 0x66:
			if o.prefix == 0 {
				o.prefix = b
			}
		case 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x67, 0xf0:
		default:
			return o
		}
	}
	return o
}

// clear forgets what an instruction may change. Its operands may be vector registers.
func (v *values) clear(in *arch.Inst, code []byte, o operands) {
	v.forget(in.Writes(code))
	if in.Map == 0 {
		return
	}
	v.xmm[o.reg] = [2]image.Addr{}
	if o.rm >= 0 {
		v.xmm[o.rm] = [2]image.Addr{}
	}
}

// forget is for general registers that hold something else now.
func (v *values) forget(which arch.Registers) {
	for r := range v.gp {
		if which.Has(r) {
			v.gp[r] = 0
		}
	}
}

// factKey is what becomes of an address, in terms of the base image.
type factKey struct {
	kind  factKind
	n     int32
	to    image.Addr
	name  string
	words uint64
}

// known finds the facts of a function by key, 0 for those that are not clear: on
// another way through the function something else may be done there.
func known(fs []fact, key func(*fact) (factKey, bool)) ([]factKey, map[factKey]image.Addr) {
	out := map[factKey]image.Addr{}
	var order []factKey
	for i := range fs {
		k, ok := key(&fs[i])
		if !ok {
			continue
		}
		if old, twice := out[k]; twice {
			if old != fs[i].value {
				out[k] = 0
			}
			continue
		}
		out[k] = fs[i].value
		order = append(order, k)
	}
	return order, out
}

// factsCached are the facts of f.
func (d *Diff) factsCached(c *Code, f *Func) []fact {
	if fs, ok := d.facts[f]; ok {
		return fs
	}
	fs := c.factsOf(f)
	d.facts[f] = fs
	return fs
}

// factPairs are the functions whose addresses a and b treat alike.
func (d *Diff) factPairs(a, b *Func) []claim {
	x, y := d.factsCached(d.Base, a), d.factsCached(d.Fixed, b)
	_, was := known(x, func(g *fact) (factKey, bool) {
		return factKey{g.kind, g.n, g.to, g.name, g.words}, true
	})
	order, is := known(y, func(g *fact) (factKey, bool) {
		k := factKey{g.kind, g.n, g.to, g.name, g.words}
		if g.to == 0 {
			return k, true
		}
		if g.kind == handedTo {
			h := d.Fixed.Entry(g.to)
			if h == nil || d.baseOf[h.Index] == nil || d.fixedOf[d.baseOf[h.Index].Index] != h {
				return k, false
			}
			k.to = d.baseOf[h.Index].Lo
			return k, true
		}
		m := d.Map(g.to)
		k.to = m.Base
		return k, m.OK()
	})
	var out []claim
	for _, k := range order {
		p, q := d.Base.Entry(was[k]), d.Fixed.Entry(is[k])
		if p != nil && q != nil {
			out = append(out, claim{p.Index, q.Index, !d.how[b.Index].firm()})
		}
	}
	if len(out) == 0 {
		if c, ok := d.onlyPair(a, b); ok {
			return []claim{c}
		}
	}
	slices.SortFunc(out, func(a, b claim) int { return cmp.Or(cmp.Compare(a.fixed, b.fixed), cmp.Compare(a.base, b.base)) })
	return slices.Compact(out)
}

// factClaims are those of all pairs whose code differs; the references of the
// others say more.
func (d *Diff) factClaims() []claim {
	var out []claim
	for i, a := range d.baseOf {
		if b := d.Fixed.Funcs[i]; a != nil && a.Hash != b.Hash && a.described() && b.described() {
			out = append(out, d.factPairs(a, b)...)
		}
	}
	return out
}

// pairFacts pairs functions whose addresses are treated alike.
func (d *Diff) pairFacts() int {
	return d.settle(d.factClaims(), byFact, byAligned)
}

// onlyPair is for functions that take the address of one function each.
func (d *Diff) onlyPair(a, b *Func) (claim, bool) {
	x, y := d.Base.taken(a), d.Fixed.taken(b)
	if len(x) != 1 || len(y) != 1 {
		return claim{}, false
	}
	return claim{x[0], y[0], !d.how[b.Index].firm()}, true
}

// taken are the indices of the functions whose addresses f takes.
func (c *Code) taken(f *Func) []int {
	var out []int
	for k := range f.Refs {
		r := &f.Refs[k]
		at := r.Target
		switch {
		case r.Kind == Lea && r.Class == image.Text:
		case r.Kind == Access && (r.Class == image.RelRO || r.Class == image.GOT):
			at = c.constantPointer(at)
		default:
			continue
		}
		if g := c.Entry(at); g != nil && g != f && !slices.Contains(out, g.Index) {
			out = append(out, g.Index)
		}
	}
	return out
}
