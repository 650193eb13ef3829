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
	at       image.Addr // of the instruction
	reg      int        // the displacement is from it
	permuted bool       // see permuted
}

func (s shift) delta() int64 { return s.to - s.from }

// drift collects signs of a changed layout of structures.
type drift struct {
	fields []shift // displacements from a register
	sizes  []shift // sizes passed to an allocator

	sets string // see SizeDrift

	pairs, aligned int // changed functions of some length, and those that could be compared
}

// fewFields is how many places have to agree on a distance.
const fewFields = 4

// findDrift looks through the aligned instructions of all changed pairs. Pairs
// that may be of different functions say nothing.
func (d *Diff) findDrift() {
	for i, b := range d.Fixed.Funcs {
		a := d.baseOf[i]
		if d.state[i] != Changed || a == nil || a.Hash == b.Hash || !b.described() || d.uncertain[i] {
			continue
		}
		x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
		pairs := d.align(a, b)
		long := b.Insts >= 20
		if long {
			d.drift.pairs++
		}
		if 2*len(pairs) < min(len(x), len(y)) {
			continue
		}
		if long {
			d.drift.aligned++
		}
		var fields, sizes []shift
		for _, p := range pairs {
			s, t := &x[p[0]], &y[p[1]]
			if s.ref >= 0 || t.ref >= 0 {
				continue
			}
			if s.disp != t.disp && isField(s) && isField(t) {
				fields = append(fields, shift{fn: b, from: int64(s.disp), to: int64(t.disp), at: b.Lo + image.Addr(t.at), reg: int(t.in.Base)})
			}
			if s.imm != t.imm && resized(s.imm, t.imm) && allocates(d.Fixed, b, y, p[1]) {
				sizes = append(sizes, shift{fn: b, from: s.imm, to: t.imm})
			}
		}
		fields = unswapped(fields)
		if len(fields) > 0 && permuted(x, y) {
			for i := range fields {
				fields[i].permuted = true
			}
		}
		d.drift.fields = append(d.drift.fields, fields...)
		if len(sizes) > 0 {
			d.drift.sizes = append(d.drift.sizes, replaced(sizes, argumentsOf(x), argumentsOf(y))...)
		}
	}
}

// replaced are the sizes that are gone, with those that are new: one of the two
// is among what the alignment says of allocations. When there are none, the
// calls only changed places, and the alignment has mistaken one for the other.
func replaced(sizes []shift, old, now []int64) []shift {
	told := func(n int64) bool {
		return slices.ContainsFunc(sizes, func(s shift) bool { return s.from == n || s.to == n })
	}
	var out []shift
	for _, from := range slices.Compact(slices.Sorted(slices.Values(old))) {
		for _, to := range slices.Compact(slices.Sorted(slices.Values(now))) {
			if count64(old, from) > count64(now, from) && count64(now, to) > count64(old, to) && resized(from, to) && (told(from) || told(to)) {
				out = append(out, shift{fn: sizes[0].fn, from: from, to: to})
			}
		}
	}
	return out
}

// unswapped drops shifts that others of the same function undo: the compiler
// has put two cases of a switch, or two branches, into another order, and the
// alignment has mistaken one for the other.
func unswapped(all []shift) []shift {
	var out []shift
	for i, s := range all {
		back, same := 0, 0
		for k, t := range all {
			if t.from == s.to && t.to == s.from {
				back++
			}
			if k < i && t.from == s.from && t.to == s.to {
				same++
			}
		}
		if same >= back {
			out = append(out, s)
		}
	}
	return out
}

// permuted: the two functions use the same displacements of members, each as
// often. Where members have moved, all that lie behind the first of them have, in
// the same direction, so that the displacements of one function cannot be those
// of the other. Code that does the same with one member after the other (copies
// the strings of a structure) looks moved when its blocks are in another order.
func permuted(x, y []token) bool {
	of := func(t []token) []int32 {
		var out []int32
		for i := range t {
			if t[i].ref < 0 && isField(&t[i]) {
				out = append(out, t[i].disp)
			}
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(of(x), of(y))
}

// argumentsOf are the constants that a function loads into the registers in
// which sizes are passed.
func argumentsOf(t []token) []int64 {
	var out []int64
	for i := range t {
		if t[i].ref < 0 && loadsArgument(&t[i]) {
			out = append(out, t[i].imm)
		}
	}
	return out
}

// loadsArgument: a constant is moved to edi, esi or edx.
func loadsArgument(t *token) bool {
	return t.in.Map == 0 && t.in.ImmLen == 4 && (t.in.Op == 0xbf || t.in.Op == 0xbe || t.in.Op == 0xba)
}

func count64(all []int64, n int64) int {
	k := 0
	for _, x := range all {
		if x == n {
			k++
		}
	}
	return k
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

// resized: both could be the sizes of one structure.
func resized(from, to int64) bool {
	const most = 256
	return from >= 16 && to >= 16 && from%4 == 0 && to%4 == 0 && to-from <= most && from-to <= most
}

// allocates: a size is moved to an argument register and soon handed to something that allocates or clears memory.
func allocates(c *Code, f *Func, y []token, at int) bool {
	if !loadsArgument(&y[at]) {
		return false
	}
	for _, n := range y[at+1 : min(at+6, len(y))] {
		if !n.in.IsCall() || n.ref < 0 {
			continue
		}
		return allocator(c, &f.Refs[n.ref])
	}
	return false
}

// allocator: what is called allocates or clears memory.
func allocator(c *Code, r *Ref) bool {
	name, _ := c.called(r)
	return sizeOf(name) != nil || strings.Contains(name, "alloc") || name == "memset" || name == "_ZdlPvm"
}

// Drift describes the evidence that the layout of a structure changed, ""
// when there is none. Silence proves nothing: members appended, or put into
// padding, leave no such sign. reordered says that another compiler made the
// fixed image, which puts the same code into another order: functions of which
// nothing but the order of what they use differs say nothing then.
func (d *Diff) Drift(reordered bool) string {
	fields := slices.Clone(d.drift.fields)
	if reordered {
		fields = slices.DeleteFunc(fields, func(s shift) bool { return s.permuted })
	}
	if len(fields) >= fewFields {
		c := d.confines()
		fields = slices.DeleteFunc(fields, func(s shift) bool { return c.pointer(s.fn, s.at, s.reg) })
	}
	slices.SortFunc(fields, func(a, b shift) int {
		return cmp.Or(cmp.Compare(a.delta(), b.delta()), cmp.Compare(a.fn.Index, b.fn.Index), cmp.Compare(a.from, b.from))
	})
	most, text := 0, ""
	for i := 0; i < len(fields); {
		j, places, functions := i, 0, 0
		first := fields[i].from // members before it are where they were
		for ; j < len(fields) && fields[j].delta() == fields[i].delta(); j++ {
			first = min(first, fields[j].from)
			if j == i || fields[j].fn != fields[j-1].fn {
				functions++
			}
			if j == i || fields[j].fn != fields[j-1].fn || fields[j].from != fields[j-1].from {
				places++
			}
		}
		if places >= fewFields && functions >= 2 && places > most {
			most = places
			text = fmt.Sprintf("members of a structure from offset %#x on moved by %+d bytes: %d accesses in %d functions (in %s, %#x became %#x)",
				first, fields[i].delta(), places, functions, d.name(fields[i].fn), fields[i].from, fields[i].to)
		}
		i = j
	}
	if len(d.drift.sizes) > 0 {
		s := d.drift.sizes[0]
		size := fmt.Sprintf("%s allocates %d bytes instead of %d", d.name(s.fn), s.to, s.from)
		if text == "" {
			return size
		}
		text += "; " + size
	}
	return text
}

// name is what a changed function of the fixed image is called everywhere: by
// its place in the base image, when it has no symbol.
func (d *Diff) name(f *Func) string {
	if a := d.baseOf[f.Index]; a != nil && len(f.Names) == 0 {
		return a.Name()
	}
	return f.Name()
}
