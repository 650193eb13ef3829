package diff

import (
	"fmt"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// A size that is computed says nothing alone: malloc(n + 16) in place of malloc(n). But
// where another function that changes adds the same number from now on, it may take
// buffers for larger that live.

// over is what a constant is added to where a size is computed, in terms of the base
// image, "" for what cannot be told of in both.
func (l *allocators) over(c *Code, h held) string {
	from := h.from
	if h.is == heldContent {
		from = h.n
	}
	if from > 0 && c == l.d.Fixed {
		b := l.d.Map(image.Addr(from))
		if !b.OK() {
			return ""
		}
		from = int64(b.Base)
	}
	switch h.is {
	case heldArgument:
		return fmt.Sprintf("argument %d", h.n+1)
	case heldLoaded:
		return fmt.Sprintf("member %d of %d", h.n, from)
	case heldContent:
		return fmt.Sprintf("variable %d", from)
	case unheld:
		return "what is not known"
	}
	return ""
}

// relied says that a function that is not f, nor a part of it, adds a number in place of
// another one that is smaller by that much; or adds it where it added none.
func (d *Diff) relied(f *Func, by int64) bool {
	for i, g := range d.Fixed.Funcs {
		if g == f || !g.described() || d.state[i] != Changed && d.state[i] != New || g.Fragment && d.ownerOf(g) == f {
			continue
		}
		come := d.added(d.Fixed, g)
		gone := map[int64]int{}
		if a := d.baseOf[i]; a != nil {
			gone = d.added(d.Base, a)
		}
		for n, times := range come {
			if times > gone[n] && (n == by || gone[n-by] > come[n-by]) {
				return true
			}
		}
	}
	return false
}

// ownerOf is the function of which g is a part; nil for none.
func (d *Diff) ownerOf(g *Func) *Func {
	for f, parts := range d.parts {
		for _, p := range parts {
			if p == g {
				return f
			}
		}
	}
	return nil
}

// added are the numbers that f adds to something, or by which it moves an index, and
// how often. Its frame does not count.
func (d *Diff) added(c *Code, f *Func) map[int64]int {
	out := map[int64]int{}
	code := c.Text(f)
	for _, t := range d.tokensOf(c, f) {
		in := &t.in
		if t.ref >= 0 || in.Len == 0 || in.Vector || in.Map > 1 {
			continue
		}
		_, rm := in.Named(code[t.at:])
		one := in.Map == 0
		switch {
		case one && (in.Op == 0x81 || in.Op == 0x83) && in.Reg() == 0 && rm != rsp:
			out[t.imm]++
		case one && (in.Op == 0x81 || in.Op == 0x83) && in.Reg() == 5 && rm != rsp:
			out[-t.imm]++
		case one && in.Op == 0xff && in.Reg() == 0:
			out[1]++
		}
		if in.HasMemory() && in.DispLen > 0 && in.Base >= 0 && in.Base < 16 && in.Base != rsp && in.Base != rbp && (one && in.Op == 0x8d || in.Index != arch.NoReg) {
			out[int64(t.disp)]++
		}
	}
	return out
}
