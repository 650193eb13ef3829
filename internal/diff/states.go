package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// Which numbers that objects keep mean something else now? A function that goes on where
// it was (protothreads, states of a parser) stores a number and compares with it at the
// next call. Where it stores and expects another one, what old code has stored leads
// elsewhere. Named numbers types.Compare tells; these may be macros, or numbers of lines.

// Renumbered is a function that keeps another number in a place than before, and expects
// another one there.
type Renumbered struct {
	F        *Func // fixed
	Was, Is  int64
	Variable image.Addr // of the fixed image; 0: a member
	Member   int64      // at so many bytes
}

// Where says what holds the number.
func (r Renumbered) Where() string {
	if r.Variable != 0 {
		return fmt.Sprintf("the variable at %#x", uint64(r.Variable))
	}
	return fmt.Sprintf("a member at offset %d", r.Member)
}

// keptIn is where a number is kept: in a variable, or at a distance from a pointer.
type keptIn struct {
	variable image.Addr // 0: none
	off      int64
}

// keptNumbers are the numbers that a function stores in a place, and those it asks for.
type keptNumbers struct {
	stores []int64
	asks   []reach
}

// reach is a range of numbers that are told apart.
type reach struct{ lo, hi int64 }

func (k *keptNumbers) asked(n int64) bool {
	return slices.ContainsFunc(k.asks, func(r reach) bool { return n >= r.lo && n <= r.hi })
}

// Renumbered looks at a changed function; the first place that is found.
func (d *Diff) Renumbered(f *Func) (Renumbered, bool) {
	a := d.baseOf[f.Index]
	if a == nil || f.Fragment || !a.described() || !f.described() {
		return Renumbered{}, false
	}
	now := d.keptNumbers(d.Fixed, f, d.parts[f])
	was := d.keptNumbers(d.Base, a, d.baseParts[a])
	var places []keptIn
	for in := range now {
		places = append(places, in)
	}
	slices.SortFunc(places, func(x, y keptIn) int {
		if c := compareAddr(x.variable, y.variable); c != 0 {
			return c
		}
		return int(x.off - y.off)
	})
	for _, in := range places {
		base := in
		if in.variable != 0 {
			b := d.Map(in.variable)
			if !b.OK() {
				continue
			}
			base.variable = b.Base
		}
		x, y := was[base], now[in]
		if x == nil {
			continue
		}
		if n, m, ok := renumbered(x, y); ok {
			return Renumbered{f, n, m, in.variable, in.off}, true
		}
	}
	return Renumbered{}, false
}

// renumbered: of the numbers of x that are stored and asked for, one is not stored any
// more, or not asked for; and y has one that is new in the same way. What is stored by
// way of a register may not be known on one of the sides.
func renumbered(x, y *keptNumbers) (was, is int64, ok bool) {
	first := func(of []int64, which func(int64) bool) (int64, bool) {
		if k := slices.IndexFunc(of, which); k >= 0 {
			return of[k], true
		}
		return 0, false
	}
	alone := func(k, other *keptNumbers) []int64 {
		var out []int64
		for _, r := range k.asks {
			if r.lo == r.hi && !other.asked(r.lo) {
				out = append(out, r.lo)
			}
		}
		return out
	}
	stored := func(k, other *keptNumbers) (int64, bool) {
		return first(k.stores, func(n int64) bool { return k.asked(n) && !slices.Contains(other.stores, n) })
	}
	asked := func(k, other *keptNumbers) (int64, bool) {
		return first(alone(k, other), func(n int64) bool { return slices.Contains(k.stores, n) })
	}
	any := func(int64) bool { return true }
	if n, ok := stored(x, y); ok {
		if m, ok := stored(y, x); ok {
			return n, m, true
		}
	}
	if n, ok := asked(x, y); ok {
		if m, ok := first(alone(y, x), any); ok {
			return n, m, true
		}
	}
	if m, ok := asked(y, x); ok {
		if n, ok := first(alone(x, y), any); ok {
			return n, m, true
		}
	}
	return 0, 0, false
}

// keptNumbers collects these for f and its parts, by place.
func (d *Diff) keptNumbers(c *Code, f *Func, parts []*Func) map[keptIn]*keptNumbers {
	out := map[keptIn]*keptNumbers{}
	at := func(in keptIn) *keptNumbers {
		if out[in] == nil {
			out[in] = &keptNumbers{}
		}
		return out[in]
	}
	for _, g := range append([]*Func{f}, parts...) {
		code := c.Text(g)
		switches := slices.ContainsFunc(g.Refs, func(r Ref) bool {
			return r.Kind == Lea && r.Class == image.ROData && len(c.JumpTable(g, r.Target, func(image.Addr) bool { return false })) > 0
		})
		d.handed(c, g, func(t *token, regs *holding) {
			in := &t.in
			if in.Len == 0 || in.Map != 0 || in.Vector || in.ImmLen == 0 && in.Op != 0x89 {
				return
			}
			place, memory := keptAt(g, t, code[t.at:])
			if in.Op == 0x89 {
				if reg, _ := in.Named(code[t.at:]); memory && reg >= 0 && regs[reg].is == heldNumber {
					at(place).stores = append(at(place).stores, regs[reg].n)
				}
				return
			}
			number := in.Imm(code[t.at:])
			asks := func(k *keptNumbers, off int64) {
				lo, hi := number-off, number-off
				if off < 0 || switches && above(code[t.at+uint32(in.Len):]) {
					lo = -off
				}
				k.asks = append(k.asks, reach{lo, hi})
			}
			switch {
			case in.Op == 0xc7 && memory:
				at(place).stores = append(at(place).stores, number)
			case memory && (in.Op == 0x81 || in.Op == 0x83) && in.Reg() == 7:
				asks(at(place), 0)
			case in.Op == 0x3d || (in.Op == 0x81 || in.Op == 0x83) && in.Reg() == 7 && !memory:
				r := rax
				if in.Op != 0x3d {
					_, r = in.Named(code[t.at:])
				}
				if r < 0 {
					return
				}
				switch h := regs[r]; h.is {
				case heldLoaded:
					asks(at(keptIn{off: h.n}), h.off)
				case heldContent:
					asks(at(keptIn{variable: image.Addr(h.n)}), h.off)
				}
			}
		})
	}
	return out
}

// keptAt is the place in memory, not in the frame, that an instruction works on.
func keptAt(f *Func, t *token, code []byte) (keptIn, bool) {
	in := &t.in
	switch {
	case !in.HasMemory() || in.Index != arch.NoReg:
		return keptIn{}, false
	case in.Base == arch.RIP && t.ref >= 0:
		return keptIn{variable: f.Refs[t.ref].Leads()}, true
	case t.ref >= 0 || in.Base < 0 || in.Base > 15 || in.Base == rsp || in.Base == rbp && in.Disp(code) < 0:
		return keptIn{}, false
	}
	return keptIn{off: in.Disp(code)}, true
}

// above: a branch for what is above, as in front of a switch table.
func above(code []byte) bool {
	return len(code) > 1 && (code[0] == 0x77 || code[0] == 0x0f && code[1] == 0x87)
}
