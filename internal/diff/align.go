package diff

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// token is one instruction, reduced to what aligning two functions needs.
type token struct {
	shape uint64 // opcode and operands without displacement, immediate and target
	at    uint32
	ref   int32 // index into Func.Refs, -1 for none
	refs  int32 // how many from there
	disp  int32 // displacement when there is no reference
	imm   int64
	in    arch.Inst
}

// alignedRef are references of corresponding instructions of a changed pair.
type alignedRef struct {
	base, fixed image.Addr
	class       image.Class // of the fixed target
}

// tokensOf are the instructions of f, cached while Compare runs.
func (d *Diff) tokensOf(c *Code, f *Func) []token {
	if t, ok := d.tokens[f]; ok {
		return t
	}
	code := c.Text(f)
	out := make([]token, 0, f.Insts)
	next := 0
	c.scan(f, code, func(at int, in *arch.Inst, refs []Ref) {
		t := token{at: uint32(at), ref: -1, in: *in, refs: int32(len(refs))}
		class := image.None
		if len(refs) > 0 {
			t.ref, class = int32(next), refs[0].Class
			next += len(refs)
		}
		b := code[at:]
		t.shape = shape(in, b, class)
		if len(refs) == 0 && in.Len > 0 {
			t.disp = int32(in.Disp(b))
			if !in.Rel {
				t.imm = in.Imm(b)
			}
		}
		out = append(out, t)
	})
	if d.tokens != nil {
		d.tokens[f] = out
	}
	return out
}

// shape hashes what an instruction does, but not with which constants. Short
// and long forms of branches and displacements look alike.
func shape(in *arch.Inst, code []byte, class image.Class) uint64 {
	h := uint64(14695981039346656037)
	add := func(b byte) { h = (h ^ uint64(b)) * 1099511628211 }
	if class == image.BSS {
		class = image.Data
	}
	add(byte(class))
	if in.Len == 0 { // no instruction
		add(code[0])
		return h
	}
	if in.Rel {
		switch {
		case in.IsJump():
			add(0xeb)
		case in.IsCond() && in.Map == 1:
			add(in.Op - 0x10)
		default:
			add(in.Op)
		}
		return h
	}
	head := int(in.Len)
	if in.DispLen > 0 {
		head = min(head, int(in.DispOff))
	}
	if in.ImmLen > 0 {
		head = min(head, int(in.ImmOff))
	}
	for i, b := range code[:head] {
		if in.HasModRM && in.DispLen > 0 && in.Base != arch.RIP && b == in.ModRM && i == modrmAt(in, head) {
			b = b&0x3f | 0x40
		}
		add(b)
	}
	return h
}

// modrmAt is where ModRM stands: before the displacement and the SIB byte.
func modrmAt(in *arch.Inst, head int) int {
	if in.ModRM&7 == 4 {
		return head - 2
	}
	return head - 1
}

// shapes are the shapes of f's tokens, sorted.
func (d *Diff) shapes(c *Code, f *Func) []uint64 {
	t := d.tokensOf(c, f)
	s := make([]uint64, len(t))
	for i := range t {
		s[i] = t[i].shape
	}
	slices.Sort(s)
	return s
}

// alignedRefs aligns a changed pair and returns the references of its
// corresponding instructions. It never asks the data map, so that it can
// contradict it.
func (d *Diff) alignedRefs(a, b *Func) []alignedRef {
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, b)
	var out []alignedRef
	for _, p := range d.align(a, b) {
		for s, t := range pairedRefs(&x[p[0]], &y[p[1]]) {
			out = append(out, alignedRef{a.Refs[s].Target, b.Refs[t].Target, b.Refs[t].Class})
		}
	}
	return out
}

// pairedRefs are the references of two corresponding instructions, one by one.
func pairedRefs(s, t *token) iter.Seq2[int32, int32] {
	return func(yield func(int32, int32) bool) {
		for i := range min(s.refs, t.refs) {
			if !yield(s.ref+i, t.ref+i) {
				return
			}
		}
	}
}

// aligner holds one alignment.
type aligner struct {
	d    *Diff
	a, b *Func
	x, y []token
	out  [][2]int
}

// align returns corresponding instructions of a and b as indices of tokens, in
// order. Few of them mean that the functions are not alike.
func (d *Diff) align(a, b *Func) [][2]int {
	if c, ok := d.alignments[b]; ok && c.base == a {
		return c.pairs
	}
	l := &aligner{d: d, a: a, b: b, x: d.tokensOf(d.Base, a), y: d.tokensOf(d.Fixed, b)}
	l.align(0, len(l.x), 0, len(l.y), 0)
	d.alignments[b] = alignment{a, l.out}
	return l.out
}

// alignment is the cached result of one; it may be from before some functions
// were paired.
type alignment struct {
	base  *Func
	pairs [][2]int
}

// Cells of one alignment table; longer stretches are first split at
// instructions that occur once on either side.
const maxAlignCells = 1 << 22

// align aligns x[xl:xh] with y[yl:yh].
func (l *aligner) align(xl, xh, yl, yh, depth int) {
	for xl < xh && yl < yh && l.weight(xl, yl) > 0 {
		l.out = append(l.out, [2]int{xl, yl})
		xl, yl = xl+1, yl+1
	}
	tail := 0
	for xl < xh-tail && yl < yh-tail && l.weight(xh-tail-1, yh-tail-1) > 0 {
		tail++
	}
	xh, yh = xh-tail, yh-tail
	switch n := (xh - xl) * (yh - yl); {
	case n == 0:
	case n <= maxAlignCells:
		l.table(xl, xh, yl, yh)
	case depth < 4:
		l.split(xl, xh, yl, yh, depth)
	}
	for i := range tail {
		l.out = append(l.out, [2]int{xh + i, yh + i})
	}
}

// split aligns between landmarks: instructions whose shape and reference occur
// once on either side, in the longest run that is in order.
func (l *aligner) split(xl, xh, yl, yh, depth int) {
	x, y := landmarks(l.x[xl:xh]), landmarks(l.y[yl:yh])
	var marks []anchor
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i].shape < y[j].shape:
			i++
		case x[i].shape > y[j].shape:
			j++
		default:
			if l.weight(xl+x[i].at, yl+y[j].at) > 0 {
				marks = append(marks, anchor{xl + x[i].at, yl + y[j].at})
			}
			i, j = i+1, j+1
		}
	}
	slices.SortFunc(marks, func(p, q anchor) int { return cmp.Compare(p.fixed, q.fixed) })
	marks = increasing(marks)
	if len(marks) == 0 {
		return
	}
	for _, m := range append(marks, anchor{xh, yh}) {
		l.align(xl, m.base, yl, m.fixed, depth+1)
		if m.base < xh && m.fixed < yh {
			l.out = append(l.out, [2]int{m.base, m.fixed})
		}
		xl, yl = m.base+1, m.fixed+1
	}
}

type landmark struct {
	shape uint64
	at    int
}

// landmarks are the tokens whose shape occurs once, by shape.
func landmarks(t []token) []landmark {
	all := make([]landmark, len(t))
	for i := range t {
		// A constant makes an instruction easier to recognise.
		all[i] = landmark{t[i].shape ^ uint64(t[i].imm)*0x9E3779B97F4A7C15 ^ uint64(uint32(t[i].disp))<<17, i}
	}
	slices.SortFunc(all, func(a, b landmark) int { return cmp.Or(cmp.Compare(a.shape, b.shape), cmp.Compare(a.at, b.at)) })
	var out []landmark
	for i := range all {
		if (i == 0 || all[i-1].shape != all[i].shape) && (i+1 == len(all) || all[i+1].shape != all[i].shape) {
			out = append(out, all[i])
		}
	}
	return out
}

// table aligns by dynamic programming for the greatest total weight.
func (l *aligner) table(xl, xh, yl, yh int) {
	n, m := xh-xl, yh-yl
	w := m + 1
	best := make([]uint32, (n+1)*w)
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			v := max(best[(i+1)*w+j], best[i*w+j+1])
			if l.x[xl+i].shape == l.y[yl+j].shape {
				if c := l.weight(xl+i, yl+j); c > 0 {
					v = max(v, best[(i+1)*w+j+1]+c)
				}
			}
			best[i*w+j] = v
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		if c := l.weight(xl+i, yl+j); c > 0 && best[i*w+j] == best[(i+1)*w+j+1]+c {
			l.out = append(l.out, [2]int{xl + i, yl + j})
			i, j = i+1, j+1
			continue
		}
		if best[(i+1)*w+j] >= best[i*w+j+1] {
			i++
		} else {
			j++
		}
	}
}

// weight is the value of aligning two instructions, 0 when it must not be.
// Same callee, import or string weigh most. What they say of variables is not
// looked at: the alignment is a witness for the data map.
func (l *aligner) weight(i, j int) uint32 {
	s, t := &l.x[i], &l.y[j]
	if s.shape != t.shape {
		return 0
	}
	const sure, likely, possible = 5, 2, 1
	if s.ref < 0 || t.ref < 0 {
		w := uint32(likely)
		if s.in.DispLen > 0 && s.disp == t.disp {
			w++
		}
		if s.in.ImmLen > 0 && !s.in.Rel && s.imm == t.imm {
			w++
		}
		return w
	}
	p, q := &l.a.Refs[s.ref], &l.b.Refs[t.ref]
	d := l.d
	switch q.Class {
	case image.Text:
		f, g := d.Base.At(p.Target), d.Fixed.At(q.Target)
		switch {
		case f == nil || g == nil:
			return possible
		case d.baseOf[g.Index] == f:
			return sure
		case d.how[g.Index].firm() || d.fixedOf[f.Index] != nil && d.how[d.fixedOf[f.Index].Index].firm():
			return 0
		}
	case image.PLT:
		f, okF := d.Base.PLTName(p.Target)
		g, okG := d.Fixed.PLTName(q.Target)
		if okF != okG || f.Name != g.Name {
			return 0
		}
		return sure
	case image.GOT:
		if gotKey(d.Base, p.Target) != gotKey(d.Fixed, q.Target) {
			return 0
		}
		return sure
	case image.ROData:
		if bytes.Equal(d.Base.Bytes(p.Target, 24), d.Fixed.Bytes(q.Target, 24)) {
			return sure
		}
		return possible
	}
	return likely
}
