package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// A hotpatch is independent when a call that is under way may finish in the old
// code while new calls run the new code. The proof asks for much, and what it
// cannot see it does not have (docs/SAFETY.md, "Independent hotpatches"):
//
//  1. One function is replaced, nothing is carried but that function with its
//     parts, and none is gone. So all its callers and callees are the same code
//     in both images, and what they agree on is what it was. It is none of them
//     itself (see recursive).
//  2. No variable and no table is brought or changed, and no reason speaks
//     against the bundle but that types could not be compared.
//  3. Old and new code make the same calls, as often each, use the same
//     variables, and have the same atomic operations, barriers and system calls.
//     So both take and give the same locks, allocate, free and hand over the
//     same way: what differs is what they compute and which way they take.
//  4. What may take or give a lock stands in the same order in both (see order).

// independent judges one pair of images.
func independent(d *diff.Diff, c *carrier, o *patch.Object, sites []patch.Site, reasons []patch.Reason) bool {
	if len(sites) != 1 {
		return false
	}
	for _, r := range reasons {
		if r.Code != layoutUnverified {
			return false
		}
	}
	var f *diff.Func
	for _, g := range c.list {
		if a := d.BaseOf(g); a != nil && uint64(a.Lo) == sites[0].Base {
			f = g
		}
	}
	if f == nil {
		return false
	}
	mine := map[*diff.Func]bool{f: true}
	for _, p := range d.Parts(f) {
		mine[p] = true
	}
	for _, g := range c.list {
		if !mine[g] {
			return false
		}
	}
	if variables(o) || slices.ContainsFunc(d.Base.Funcs, func(g *diff.Func) bool { return lost(d, g) }) {
		return false
	}
	if recursive(d.Base, d.BaseOf(f), d.BaseParts(d.BaseOf(f))) {
		return false
	}
	was, before, ok := effectsOf(d, d.Base, d.BaseOf(f), d.BaseParts(d.BaseOf(f)), true)
	is, now, also := effectsOf(d, d.Fixed, f, d.Parts(f), false)
	return ok && also && maps.Equal(was, is) && slices.Equal(before, now)
}

// variables says whether the object's writable part holds more than addresses
// of imports.
func variables(o *patch.Object) bool {
	imports := map[uint64]bool{}
	for _, r := range o.Relocs {
		if r.Type == patch.Abs64 && r.Sym >= 0 && o.Symbols[r.Sym].Kind == patch.Import {
			imports[r.At] = true
		}
	}
	for _, c := range o.Chunks {
		for at := max(c.Addr, o.Hi); at < c.Addr+uint64(len(c.Data)); at += 8 {
			if !imports[at] {
				return true
			}
		}
	}
	return false
}

// effects counts what code does outside of itself: each call by its callee,
// each atomic operation by its opcode; of a variable only that it is used.
type effects map[string]int

// effectsOf collects those of a function with its parts, and in which order the code
// has them. ok is false where something cannot be told.
func effectsOf(d *diff.Diff, c *diff.Code, f *diff.Func, parts []*diff.Func, base bool) (e effects, order []string, ok bool) {
	e = effects{}
	own := append([]*diff.Func{f}, parts...)
	w := &witness{d: d, c: c, own: own, base: base}
	for _, g := range own {
		if g.Bad > 0 || !e.instructions(c, g) {
			return nil, nil, false
		}
		for k := range g.Refs {
			key, once, ok := w.effect(g, k)
			switch {
			case !ok:
				return nil, nil, false
			case once:
				e[key] = 1
			case key != "":
				e[key]++
			}
		}
		sequence, ok := w.order(g)
		if !ok {
			return nil, nil, false
		}
		order = append(order, sequence...)
	}
	return e, order, true
}

// witness names what code of one image does, alike in both.
type witness struct {
	d    *diff.Diff
	c    *diff.Code
	own  []*diff.Func // the function with its parts
	base bool
	lock map[*diff.Func]bool // see leadsToLock
	nets map[*diff.Func]int  // see netOf
}

// effect names what reference k of g is used for; "" for what only the function
// itself has, or a constant. once: it does not matter how often.
func (w *witness) effect(g *diff.Func, k int) (key string, once, ok bool) {
	r := &g.Refs[k]
	switch {
	case r.Class == image.Text:
		t := w.c.At(r.Target)
		if t == nil {
			return "", false, false
		}
		if slices.Contains(w.own, t) {
			return "", false, true
		}
		off := r.Target - t.Lo
		if !w.base {
			t = w.d.BaseOf(t)
		}
		if t == nil {
			return "", false, false
		}
		return fmt.Sprintf("%s %x+%x", use(r), uint64(t.Lo), uint64(off)), false, true
	case r.Class == image.PLT:
		i, named := w.c.PLTName(r.Target)
		return "call " + i.Name, false, named && i.Name != ""
	case r.Class == image.GOT:
		s := w.c.RelocAt(r.Target)
		if s == nil || s.Sym == "" {
			return "", false, false
		}
		return "slot " + s.Sym, false, true
	case r.Class.Writable():
		at, ok := w.variable(g, k)
		return fmt.Sprintf("variable %x", uint64(at)), true, ok
	case r.Class == image.ROData, r.Class == image.RelRO:
		return "", false, true // constants; a table that differs is a reason of its own
	}
	return "", false, false
}

// variable is the place in the base image that reference k of g means.
func (w *witness) variable(g *diff.Func, k int) (image.Addr, bool) {
	if w.base {
		return g.Refs[k].Target, true
	}
	b := w.d.Bind(g, k)
	return b.Base, b.OK()
}

func use(r *diff.Ref) string {
	if r.Kind == diff.Lea || r.Kind == diff.Access {
		return "address"
	}
	return "call"
}

// instructions counts what no reference shows: calls and jumps through
// registers, atomic operations, barriers, system calls, and the use of
// thread-local storage.
func (e effects) instructions(c *diff.Code, f *diff.Func) bool {
	code := c.Text(f)
	for at := 0; at < len(code); {
		in, err := arch.Decode(code[at:])
		if err != nil || in.Len == 0 {
			return false
		}
		b := code[at : at+int(in.Len)]
		switch {
		case in.IsIndirect() && in.Base != arch.RIP:
			e[fmt.Sprintf("indirect %d", in.Reg())]++
		case atomic(&in, b):
			e[fmt.Sprintf("atomic %d %x", in.Map, in.Op)]++
		case in.Map == 1 && !in.Vector && in.Op == 0xae && !in.HasMemory(): // fences
			e[fmt.Sprintf("fence %d", in.Reg())]++
		case in.Map == 1 && !in.Vector && (in.Op == 0x05 || in.Op == 0x34), in.Map == 0 && in.Op == 0xcd:
			e["system call"]++
		}
		if in.FS {
			e["thread-local storage"] = 1
		}
		at += int(in.Len)
	}
	return true
}

// atomic reports the lock prefix; xchg locks by itself.
func atomic(in *arch.Inst, code []byte) bool {
	return locked(code[:in.Len]) || in.Map == 0 && !in.Vector && in.Op&0xfe == 0x86 && in.HasMemory()
}

// opaque: there is an atomic operation, a system call, or a call (or a jump, which may
// be one) through a register or memory.
func (e effects) opaque() bool {
	for what := range e {
		if strings.HasPrefix(what, "atomic") || strings.HasPrefix(what, "indirect") || what == "system call" {
			return true
		}
	}
	return false
}

// locked reports the lock prefix.
func locked(b []byte) bool {
	for _, p := range b {
		switch p {
		case 0xf0:
			return true
		case 0x66, 0x67, 0xf2, 0xf3, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e:
		default:
			return false
		}
	}
	return false
}
