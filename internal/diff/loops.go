package diff

import (
	"cmp"
	"slices"

	"hotpatch/internal/arch"
)

// Which instructions of a function may be done several times in one call, and what
// do they change?

// loop is code of a function, from one instruction to another, with a branch back in
// it. Loops that share an instruction are one.
type loop struct {
	lo, hi uint32          // offsets of the first and last instruction
	heads  map[uint32]bool // where branches back lead
	writes arch.Registers  // what is changed in it
}

// loops are those of f, by place.
func (d *Diff) loops(c *Code, f *Func) (out []loop) {
	all := d.tokensOf(c, f)
	if len(all) == 0 {
		return nil
	}
	code := c.Text(f)
	for i := range all {
		t := &all[i]
		if t.in.Len == 0 || !t.in.Rel || t.in.IsCall() {
			continue
		}
		if to := int64(t.at) + int64(t.in.Len) + t.in.Imm(code[t.at:]); to >= 0 && to <= int64(t.at) {
			out = append(out, loop{lo: uint32(to), hi: t.at, heads: map[uint32]bool{uint32(to): true}})
		}
	}
	// A part that lies elsewhere leads back, which may be to before where it was left.
	parts := d.parts[f]
	if c == d.Base {
		parts = d.baseParts[f]
	}
	last := all[len(all)-1].at
	for _, p := range parts {
		for k := range f.Refs {
			if r := &f.Refs[k]; f.Fragment && r.Kind != Lea && r.Target > p.Lo && r.Target < p.Hi {
				out = append(out, loop{hi: last, heads: map[uint32]bool{0: true}, writes: arch.AllRegisters})
			}
		}
		for k := range p.Refs {
			if r := &p.Refs[k]; r.Kind != Lea && r.Target > f.Lo && r.Target < f.Hi {
				to := uint32(r.Target - f.Lo)
				out = append(out, loop{lo: to, hi: last, heads: map[uint32]bool{to: true}, writes: arch.AllRegisters})
			}
		}
	}
	slices.SortFunc(out, func(x, y loop) int { return cmp.Compare(x.lo, y.lo) })
	n := 0
	for _, l := range out {
		if n > 0 && l.lo <= out[n-1].hi {
			o := &out[n-1]
			o.hi = max(o.hi, l.hi)
			o.writes |= l.writes
			for at := range l.heads {
				o.heads[at] = true
			}
			continue
		}
		out[n] = l
		n++
	}
	out = out[:n]
	for k := range out {
		l := &out[k]
		first, _ := slices.BinarySearchFunc(all, l.lo, func(t token, at uint32) int { return cmp.Compare(t.at, at) })
		for i := first; i < len(all) && all[i].at <= l.hi; i++ {
			t := &all[i]
			switch {
			case t.in.Len == 0:
				l.writes = arch.AllRegisters
			case t.in.IsCall():
				l.writes |= arch.CallClobbered
			default:
				l.writes |= t.in.Writes(code[t.at:])
			}
		}
	}
	return out
}

// loopAt is the loop of those of a function that holds the instruction at an offset, nil
// for none.
func loopAt(all []loop, at uint32) *loop {
	k, found := slices.BinarySearchFunc(all, at, func(l loop, at uint32) int { return cmp.Compare(l.lo, at) })
	if !found {
		k--
	}
	if k < 0 || at > all[k].hi {
		return nil
	}
	return &all[k]
}
