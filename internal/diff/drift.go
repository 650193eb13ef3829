package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// shift is a constant of an instruction that differs between a changed pair.
type shift struct {
	fn       *Func // fixed
	from, to int64
}

func (s shift) delta() int64 { return s.to - s.from }

// drift collects signs of a changed layout of structures.
type drift struct {
	fields []shift // displacements from a register
	sizes  []shift // sizes passed to an allocator
}

// findDrift looks through the aligned instructions of all changed pairs.
func (d *Diff) findDrift() {
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if d.state[i] != Changed || a == nil || a.Hash == b.Hash || !b.described() {
			continue
		}
		x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
		pairs := d.align(a, b)
		if 2*len(pairs) < min(len(x), len(y)) {
			continue
		}
		for _, p := range pairs {
			s, t := &x[p[0]], &y[p[1]]
			if s.ref >= 0 || t.ref >= 0 {
				continue
			}
			if s.disp != t.disp && isField(s) && isField(t) {
				d.drift.fields = append(d.drift.fields, shift{b, int64(s.disp), int64(t.disp)})
			}
			if s.imm != t.imm && d.isAllocation(b, y, p[1], s.imm, t.imm) {
				d.drift.sizes = append(d.drift.sizes, shift{b, s.imm, t.imm})
			}
		}
	}
}

// isField: the displacement may be that of a member: from a register that is
// no stack pointer, and not arithmetic done with lea.
func isField(t *token) bool {
	const rsp, rbp = 4, 5
	if t.in.DispLen == 0 || t.in.Base == arch.NoReg || t.in.Base == arch.RIP || t.in.Base == rsp {
		return false
	}
	if t.in.Map == 0 && t.in.Op == 0x8d && t.in.Base == t.in.Index {
		return false
	}
	return t.in.Base != rbp || t.disp >= 0
}

// isAllocation: a size is moved to an argument register (edi, esi, edx) and
// soon handed to something that allocates or clears memory.
func (d *Diff) isAllocation(f *Func, y []token, at int, from, to int64) bool {
	t := &y[at]
	if t.in.Map != 0 || t.in.ImmLen != 4 || t.in.Op != 0xbf && t.in.Op != 0xbe && t.in.Op != 0xba {
		return false
	}
	if from < 16 || to < 16 || from%4 != 0 || to%4 != 0 || to-from > 256 || from-to > 256 {
		return false
	}
	for _, n := range y[at+1 : min(at+6, len(y))] {
		if !n.in.IsCall() || n.ref < 0 {
			continue
		}
		r := &f.Refs[n.ref]
		name := ""
		switch r.Class {
		case image.PLT:
			i, _ := d.Fixed.PLTName(r.Target)
			name = i.Name
		case image.GOT:
			name = gotKey(d.Fixed, r.Target).sym
		case image.Text:
			if g := d.Fixed.Entry(r.Target); g != nil && len(g.Names) > 0 {
				name = g.Names[0]
			}
		}
		return strings.Contains(name, "alloc") || name == "memset" || name == "_Znwm" || name == "_ZdlPvm"
	}
	return false
}

// Drift describes the evidence that the layout of a structure changed, ""
// when there is none. Silence proves nothing: members appended, or put into
// padding, leave no such sign.
func (d *Diff) Drift() string {
	fields := slices.Clone(d.drift.fields)
	slices.SortFunc(fields, func(a, b shift) int {
		return cmp.Or(cmp.Compare(a.delta(), b.delta()), cmp.Compare(a.fn.Index, b.fn.Index), cmp.Compare(a.from, b.from))
	})
	most, text := 0, ""
	for i := 0; i < len(fields); {
		j, places, functions := i, 0, 0
		for ; j < len(fields) && fields[j].delta() == fields[i].delta(); j++ {
			if j == i || fields[j].fn != fields[j-1].fn {
				functions++
			}
			if j == i || fields[j] != fields[j-1] {
				places++
			}
		}
		if places >= 4 && functions >= 2 && places > most {
			most = places
			text = fmt.Sprintf("%d member accesses in %d functions, %s among them, moved by %+d bytes", places, functions, fields[i].fn.Name(), fields[i].delta())
		}
		i = j
	}
	if text != "" {
		return text
	}
	if len(d.drift.sizes) > 0 {
		s := d.drift.sizes[0]
		return fmt.Sprintf("%s allocates %d bytes instead of %d", s.fn.Name(), s.to, s.from)
	}
	return ""
}
