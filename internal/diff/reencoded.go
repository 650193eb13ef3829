package diff

import (
	"bytes"
	"sort"

	"hotpatch/internal/arch"
)

// reencoded says whether a changed function consists of the instructions of
// its base function, in other encodings: the assembler had a choice, or fillers
// came and went between them. Known are
//
//   - nops and other filler between instructions,
//   - branches inside the function in their short and long forms,
//   - mov and arithmetic of two registers, which has two forms (Intel SDM vol. 2,
//     "MOV r/m, r" and "MOV r, r/m"),
//   - displacements and immediates in one byte or in four.
//
// Everything else has to be the same byte for byte, every reference has to lead
// to its counterpart, every branch to the counterpart of its target.
func (d *Diff) reencoded(b *Func) bool {
	a := d.baseOf[b.Index]
	if a == nil || a.Bad+b.Bad > 0 || len(a.Refs) != len(b.Refs) || a.LSDA != 0 || b.LSDA != 0 {
		return false
	}
	oldCode, newCode := d.Base.Text(a), d.Fixed.Text(b)
	x, y := withoutFiller(d.tokensOf(d.Base, a), oldCode), withoutFiller(d.tokensOf(d.Fixed, b), newCode)
	if len(x) != len(y) {
		return false
	}
	owner := [2]*Func{a, b}
	for i := range x {
		s, t := &x[i], &y[i]
		p, q := oldCode[s.at:], newCode[t.at:]
		switch {
		case s.refs != t.refs:
			return false
		case s.ref >= 0:
			if !sameForm(a, b, s, t, p, q) {
				return false
			}
			for i, j := range pairedRefs(s, t) {
				if same, _ := d.sameRef(&a.Refs[i], &b.Refs[j], &owner); !same {
					return false
				}
			}
		case s.in.Rel != t.in.Rel:
			return false
		case s.in.Rel: // a branch inside the function
			if s.shape != t.shape || position(x, s.at, &s.in, p) < 0 || position(x, s.at, &s.in, p) != position(y, t.at, &t.in, q) {
				return false
			}
		default:
			if canonical(&s.in, p) != canonical(&t.in, q) {
				return false
			}
		}
	}
	return true
}

// withoutFiller drops nops, which have no shape of their own.
func withoutFiller(all []token, code []byte) []token {
	out := make([]token, 0, len(all))
	for _, t := range all {
		n := int(t.in.Len)
		if n == 0 || code[t.at] != 0 && code[t.at] != 0xcc && arch.Padding(code[t.at:int(t.at)+n]) == n {
			continue
		}
		out = append(out, t)
	}
	return out
}

// position is the index of the instruction that a branch leads to, with or
// without filler before it; -1 when there is none.
func position(all []token, at uint32, in *arch.Inst, code []byte) int {
	to := int64(at) + int64(in.Len) + in.Imm(code)
	i := sort.Search(len(all), func(i int) bool { return int64(all[i].at)+int64(all[i].in.Len) > to })
	if i == len(all) || int64(all[i].at) < to { // behind it, or into the middle
		return -1
	}
	return i
}

// sameForm: the instructions s of a and t of b refer to as many things; all but
// the fields of the references is the same. Only branches have two forms.
func sameForm(a, b *Func, s, t *token, p, q []byte) bool {
	if s.in.Rel || t.in.Rel {
		return s.in.Rel == t.in.Rel && s.shape == t.shape
	}
	if s.in.Len != t.in.Len || s.refs != t.refs {
		return false
	}
	at := uint32(0)
	for i, j := range pairedRefs(s, t) {
		x, y := &a.Refs[i], &b.Refs[j]
		lo := x.Field - s.at
		if y.Field-t.at != lo || x.Size != y.Size || x.Form != y.Form || !bytes.Equal(p[at:lo], q[at:lo]) {
			return false
		}
		at = lo + uint32(x.Size)
	}
	return bytes.Equal(p[at:s.in.Len], q[at:s.in.Len])
}

// form is an instruction without its choice of encoding.
type form struct {
	head      string // prefixes, opcode, ModRM and SIB
	disp, imm int64
	extra     string // what follows ModRM and SIB when it is not understood
}

// canonical chooses one of the encodings of an instruction without reference.
func canonical(in *arch.Inst, code []byte) form {
	n := int(in.Len)
	if in.Vector || in.Map != 0 || !in.HasModRM || in.Addr32 {
		return form{head: string(code[:n])}
	}
	opAt, rexAt := opcodeAt(code[:n])
	modrmAt := opAt + 1
	if opAt < 0 || modrmAt >= n || code[opAt] != in.Op || code[modrmAt] != in.ModRM {
		return form{head: string(code[:n])}
	}
	end := n // of ModRM and SIB
	if in.ImmLen > 0 {
		end = int(in.ImmOff)
	}
	if in.DispLen > 0 {
		end = int(in.DispOff)
	}
	head := bytes.Clone(code[:end])
	f := form{}
	if in.DispLen > 0 {
		f.disp = in.Disp(code)
		if mod := in.ModRM >> 6; mod == 1 || mod == 2 {
			head[modrmAt] = in.ModRM&0x3f | 0x80
		}
	}
	if in.ImmLen > 0 {
		f.imm = in.Imm(code)
		if in.Op == 0x83 && !in.Size16 {
			head[opAt] = 0x81
		} else if in.Op != 0x81 || in.Size16 {
			f.extra = string(code[in.ImmOff:n])
		}
	}
	// op r/m, r and op r, r/m: bit 1 of the opcode is the direction.
	twoForms := in.Op < 0x40 && in.Op&7 < 4 || in.Op >= 0x88 && in.Op <= 0x8b
	if twoForms && in.ModRM >= 0xc0 && in.Op&2 != 0 && in.ImmLen == 0 {
		head[opAt] = in.Op &^ 2
		head[modrmAt] = 0xc0 | in.ModRM&7<<3 | in.ModRM>>3&7
		if rexAt >= 0 {
			rex := head[rexAt]
			head[rexAt] = rex&^5 | rex&4>>2 | rex&1<<2
		}
	}
	f.head = string(head)
	return f
}

// opcodeAt finds the opcode of a one-byte instruction, and its REX, -1 when
// there is none.
func opcodeAt(code []byte) (op, rex int) {
	for i, c := range code {
		switch c {
		case 0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf0:
			continue
		}
		if c&0xf0 == 0x40 {
			return i + 1, i
		}
		return i, -1
	}
	return -1, -1
}
