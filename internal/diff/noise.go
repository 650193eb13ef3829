package diff

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"hotpatch/internal/image"
)

// findNoise turns changed functions into noise when all that differs is a
// version, a date, a build-id or a line number inside strings. Nothing else is
// noise: an immediate that moved may be a line number, but it may be a size.
func (d *Diff) findNoise() {
	for i, b := range d.Fixed.Funcs {
		if d.state[i] == Changed && d.onlyNoise(b) {
			d.why[i] = "strings differ in version, date or line number only"
			d.state[i] = Noise
		} else if d.state[i] == Changed && d.reencoded(b) {
			d.why[i] = "the same instructions in other encodings"
			d.state[i] = Noise
		}
	}
	d.lineNumbers()
	// A part of a changed function is carried with it, noise or not.
	for i, f := range d.Fixed.Funcs {
		if d.state[i] != Noise {
			continue
		}
		for _, g := range d.parts[f] {
			if s := d.state[g.Index]; s == Changed || s == New {
				d.state[i], d.why[i] = Changed, "one piece of code with "+g.Name()
			}
		}
	}
}

// lineNumbers: main never leaves the stack, so it must not be carried for line
// numbers alone. Its constants count as such when all moved by one distance, each
// is handed over together with the name of a source file, and those of a changed
// function nearby, which are other ones, moved by the same.
func (d *Diff) lineNumbers() {
	m := d.Fixed.Main()
	if m == nil || d.state[m.Index] != Changed {
		return
	}
	moved, ok := d.moved(m)
	if !ok {
		return
	}
	const near = 100 // functions
	for i := max(0, m.Index-near); i < min(len(d.Fixed.Funcs), m.Index+near); i++ {
		f := d.Fixed.Funcs[i]
		if f == m || d.state[i] != Changed {
			continue
		}
		if other, ok := d.moved(f); ok && other.like(moved) {
			d.state[m.Index], d.why[m.Index] = Noise, fmt.Sprintf("line numbers moved by %+d, as in %s", moved.by, f.Name())
			return
		}
	}
}

// lines are the line numbers that differ in a pair of functions.
type lines struct {
	by    int64
	fixed []int64
	files []string // that they are of
}

// like says whether both are of one file, in which no line is in two functions.
func (l *lines) like(m *lines) bool {
	for _, n := range l.fixed {
		if slices.Contains(m.fixed, n) {
			return false
		}
	}
	return l.by == m.by && slices.ContainsFunc(l.files, func(f string) bool { return slices.Contains(m.files, f) })
}

// moved are the constants of f when nothing else differs from its base function,
// and all by one distance: they are loaded into registers or passed on the stack
// for a call that gets the name of a source file as well.
func (d *Diff) moved(f *Func) (*lines, bool) {
	var out lines
	a := d.baseOf[f.Index]
	if a == nil || len(a.Refs) != len(f.Refs) {
		return nil, false
	}
	if same, _ := d.sameHandlers(a, f); !same {
		return nil, false
	}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, f)
	if len(x) != len(y) {
		return nil, false
	}
	owner := [2]*Func{a, f}
	oldCode, newCode := d.Base.Text(a), d.Fixed.Text(f)
	for k := range x {
		s, t := &x[k], &y[k]
		if s.shape != t.shape || s.disp != t.disp || s.in.Len != t.in.Len {
			return nil, false
		}
		if s.refs != t.refs || s.ref >= 0 && !sameForm(a, f, s, t, oldCode[s.at:], newCode[t.at:]) {
			return nil, false
		}
		for i, j := range pairedRefs(s, t) {
			p, q := &a.Refs[i], &f.Refs[j]
			if same, _ := d.sameRef(p, q, &owner); !same && !d.noiseString(p.Target, q.Target) {
				return nil, false
			}
		}
		if s.ref >= 0 {
			continue
		}
		if s.in.Rel && s.in.Imm(oldCode[s.at:]) != t.in.Imm(newCode[t.at:]) {
			return nil, false
		}
		if s.imm == t.imm {
			continue
		}
		const mostLines, mostMoved = 65000, 2000
		loads := s.in.Map == 0 && (s.in.Op >= 0xb8 && s.in.Op <= 0xbf || s.in.Op == 0xc7 || s.in.Op == 0x68)
		if !loads || min(s.imm, t.imm) < 8 || max(s.imm, t.imm) > mostLines || out.by != 0 && t.imm-s.imm != out.by {
			return nil, false
		}
		file, ok := d.fileOfCall(f, y, k)
		if !ok {
			return nil, false
		}
		out.by, out.fixed, out.files = t.imm-s.imm, append(out.fixed, t.imm), append(out.files, file)
		if out.by > mostMoved || out.by < -mostMoved {
			return nil, false
		}
	}
	return &out, out.by != 0
}

// fileOfCall is the name of a source file that the call gets for which instruction
// k of f loads something. Compilers let several such calls share their end.
func (d *Diff) fileOfCall(f *Func, all []token, k int) (string, bool) {
	leaves := func(t *token) bool { return t.in.IsCall() || t.in.IsJump() || t.in.IsRet() }
	found := ""
	look := func(t *token) {
		if s := d.sourceFileAt(f, t); s != "" {
			found = s
		}
	}
	for i := k; i >= 0 && !leaves(&all[i]); i-- {
		look(&all[i])
	}
	for hops := 0; k < len(all) && hops < 4; {
		t := &all[k]
		switch {
		case t.in.IsCall(), t.in.IsJump() && t.ref >= 0 && f.Refs[t.ref].Kind == Jump:
			return found, found != ""
		case t.in.IsRet(), t.in.IsJump() && t.in.IsIndirect():
			return "", false
		case t.in.IsJump():
			to, _ := t.in.Target(uint64(f.Lo)+uint64(t.at), d.Fixed.Text(f)[t.at:])
			n, ok := slices.BinarySearchFunc(all, uint32(to-uint64(f.Lo)), func(t token, at uint32) int { return cmp.Compare(t.at, at) })
			if !ok {
				return "", false
			}
			k, hops = n, hops+1
			continue
		}
		look(t)
		k++
	}
	return "", false
}

// sourceFileAt is the name of a source file whose address an instruction takes.
func (d *Diff) sourceFileAt(f *Func, t *token) string {
	for r := range t.refs {
		ref := &f.Refs[t.ref+r]
		if ref.Class != image.ROData || ref.Off != 0 {
			continue
		}
		if n := d.Fixed.CString(ref.Target); n > 1 {
			if s := string(d.Fixed.Bytes(ref.Target, n-1)); sourceFile().MatchString(s) {
				return s
			}
		}
	}
	return ""
}

var sourceFile = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[^ %]*\.(?:c|cc|cpp|cxx|c\+\+|C|h|hh|hpp|hxx|y|l|inc)$`)
})

// onlyNoise says whether every difference of a changed function is noise.
func (d *Diff) onlyNoise(b *Func) bool {
	a := d.baseOf[b.Index]
	if a == nil || !d.sameCode(a, b) {
		return false
	}
	owner := [2]*Func{a, b}
	for k := range b.Refs {
		p, q := &a.Refs[k], &b.Refs[k]
		if same, _ := d.sameRef(p, q, &owner); same {
			continue
		}
		if p.Class != image.ROData || q.Class != image.ROData || q.Kind != Lea {
			return false
		}
		if !d.noiseString(p.Target, q.Target) && !d.timeOfBuild(a, b, p.Target, q.Target) {
			return false
		}
	}
	same, _ := d.sameHandlers(a, b)
	return same
}

// timeOfBuild says whether the strings at ta and tb are what __TIME__ stands for:
// then the functions use __DATE__ as well.
func (d *Diff) timeOfBuild(a, b *Func, ta, tb image.Addr) bool {
	text := func(c *Code, t image.Addr) string { return string(c.Bytes(t, max(c.CString(t), 1)-1)) }
	uses := func(c *Code, f *Func) bool {
		return slices.ContainsFunc(f.Refs, func(r Ref) bool { return r.Class == image.ROData && r.Kind == Lea && isDate(text(c, r.Target)) })
	}
	return isTime(text(d.Base, ta)) && isTime(text(d.Fixed, tb)) && uses(d.Base, a) && uses(d.Fixed, b)
}

// noiseString compares the strings at ta and tb.
func (d *Diff) noiseString(ta, tb image.Addr) bool {
	na, nb := d.Base.CString(ta), d.Fixed.CString(tb)
	if na < 2 || nb < 2 {
		return false
	}
	return d.noiseTexts(string(d.Base.Bytes(ta, na-1)), string(d.Fixed.Bytes(tb, nb-1)))
}

func (d *Diff) noiseTexts(x, y string) bool {
	return NoiseStrings(x, y, Origin{d.options.BaseVersion, d.Base.BuildID}, Origin{d.options.FixedVersion, d.Fixed.BuildID})
}
