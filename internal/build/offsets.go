package build

import (
	"encoding/binary"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// Libraries of the medium and large code models (psABI §3.5, -mcmodel) reach what
// may be far away by numbers of 64 bits, which are distances from the global
// offset table:
//
//	lea _GLOBAL_OFFSET_TABLE_(%rip),%rax; movabs $x@GOTOFF,%rdx; mov (%rax,%rdx),%eax
//
// The large model computes the table's address like that, too, from a place in the
// function. Such a number is no reference that anything here follows, and
// distances in the running program are other ones.

// offsets finds the functions that do so.
type offsets struct {
	c      *diff.Code
	d      *diff.Diff
	tables []image.Addr // where the global offset table may be said to be
}

func newOffsets(d *diff.Diff) *offsets {
	o := &offsets{c: d.Fixed, d: d}
	for _, s := range d.Fixed.Sections {
		if s.Class == image.GOT {
			o.tables = append(o.tables, s.Addr)
		}
	}
	for i := range d.Fixed.Symbols {
		if y := &d.Fixed.Symbols[i]; y.Name == "_GLOBAL_OFFSET_TABLE_" {
			o.tables = append(o.tables, y.Addr)
		}
	}
	return o
}

// uses says whether f, with its parts, reaches anything by such a number.
func (o *offsets) uses(f *diff.Func) bool {
	far := o.numbers(f)
	if len(far) == 0 {
		return false
	}
	return o.takes(f, far) || slices.ContainsFunc(o.d.Parts(f), func(g *diff.Func) bool { return o.takes(g, o.numbers(g)) })
}

// takes says whether f has the address of the global offset table.
func (o *offsets) takes(f *diff.Func, far []int64) bool {
	return slices.ContainsFunc(f.Refs, func(r diff.Ref) bool {
		if r.Kind != diff.Lea {
			return false
		}
		own := r.Target >= f.Lo && r.Target < f.Hi
		return slices.Contains(o.tables, r.Target) || own && slices.ContainsFunc(far, func(n int64) bool {
			return slices.Contains(o.tables, r.Target+image.Addr(n))
		})
	})
}

// numbers are those of 64 bits that f loads into registers and that 32 would do
// for, as compilers write other numbers.
func (o *offsets) numbers(f *diff.Func) []int64 {
	code := o.c.Text(f)
	if !mayLoadFar(code) {
		return nil
	}
	var out []int64
	for at := 0; at < len(code); {
		in, err := arch.Decode(code[at:])
		if err != nil || in.Len == 0 {
			at++
			continue
		}
		if n := in.Imm(code[at:]); in.Map == 0 && in.ImmLen == 8 && in.Op&0xf8 == 0xb8 && n == int64(int32(n)) && len(o.c.KeptIn(f.Lo+image.Addr(at), f.Lo+image.Addr(at)+image.Addr(in.Len))) == 0 {
			out = append(out, n)
		}
		at += int(in.Len)
	}
	return out
}

// mayLoadFar: somewhere in code may be an instruction that numbers looks for. Most
// functions have none, and need not be decoded.
func mayLoadFar(code []byte) bool {
	for i := 0; i+10 <= len(code); i++ {
		if code[i]&0xf8 == 0x48 && code[i+1]&0xf8 == 0xb8 {
			if n := int64(binary.LittleEndian.Uint64(code[i+2:])); n == int64(int32(n)) {
				return true
			}
		}
	}
	return false
}

// offsets: nothing that is reached by its distance from the global offset table was
// compared.
func (j *judge) offsets() {
	if len(j.c.list) == 0 {
		return
	}
	o := newOffsets(j.d)
	for _, f := range j.d.Fixed.Funcs {
		if f.Source == image.FromGap || !o.uses(f) {
			continue
		}
		j.r.add(referenceUnbound, label(j.d, f), "it computes addresses from the global offset table with distances of 64 bits (-mcmodel=medium or large), which are other ones in the running program")
	}
}
