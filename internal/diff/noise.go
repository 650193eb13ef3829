package diff

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/stamps"
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
// is handed over together with the name of a source file, and those of changed
// functions nearby, which are other ones, moved by the same and are handed to the
// same callees in the same places.
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
	witnessed, witness := map[handing]bool{}, ""
	for i := max(0, m.Index-near); i < min(len(d.Fixed.Funcs), m.Index+near); i++ {
		f := d.Fixed.Funcs[i]
		if f == m || d.state[i] != Changed {
			continue
		}
		if other, ok := d.moved(f); ok && other.like(moved) {
			for callee, place := range other.places {
				witnessed[handing{callee, place}] = true
			}
			witness = cmp.Or(witness, f.Name())
		}
	}
	for callee, place := range moved.places {
		if !witnessed[handing{callee, place}] {
			return
		}
	}
	d.state[m.Index], d.why[m.Index] = Noise, fmt.Sprintf("line numbers moved by %+d, as in %s", moved.by, witness)
}

// lines are the line numbers that differ in a pair of functions.
type lines struct {
	by    int64
	fixed []int64
	files []string // that they are of
	// where a callee gets its line: one place each, by the callee's address, and
	// 0 for all that are called by a pointer in a register
	places map[image.Addr]passedIn
}

// passedIn is where a call takes a constant from: an argument's register, a slot of
// the stack by its distance from rsp, or a push by how many follow.
type passedIn struct {
	kind byte // 'r', 's', 'p'
	n    int64
}

type handing struct {
	callee image.Addr
	place  passedIn
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
// for a call that gets the name of a source file as well. No call gets two, and all
// calls of one function get theirs in the same place: the other may be a size.
func (d *Diff) moved(f *Func) (*lines, bool) {
	out := lines{places: map[image.Addr]passedIn{}}
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
		at, ok := placeOf(t, newCode[t.at:])
		if !ok || min(s.imm, t.imm) < 8 || max(s.imm, t.imm) > mostLines || out.by != 0 && t.imm-s.imm != out.by {
			return nil, false
		}
		file, callee, pushes, ok := d.fileOfCall(f, x, y, k)
		if !ok {
			return nil, false
		}
		if at.kind == 'p' {
			at.n = pushes
		}
		if before, ok := out.places[callee]; ok && before != at {
			return nil, false
		}
		out.places[callee] = at
		out.by, out.fixed, out.files = t.imm-s.imm, append(out.fixed, t.imm), append(out.files, file)
		if out.by > mostMoved || out.by < -mostMoved {
			return nil, false
		}
	}
	return &out, out.by != 0
}

// placeOf says where an instruction puts a constant for a call.
func placeOf(t *token, code []byte) (passedIn, bool) {
	in := &t.in
	if in.Map != 0 || in.Size16 {
		return passedIn{}, false
	}
	extended := func(opcode int) int64 { // REX.B is right before the opcode
		if opcode > 0 && code[opcode-1]&0xf0 == 0x40 {
			return int64(code[opcode-1]&1) << 3
		}
		return 0
	}
	reg := int64(-1)
	switch {
	case in.Op == 0x68:
		return passedIn{kind: 'p'}, true
	case in.Op >= 0xb8 && in.Op <= 0xbf:
		reg = int64(in.Op&7) + extended(int(in.ImmOff)-1)
	case in.Op == 0xc7 && in.ModRM >= 0xc0:
		reg = int64(in.ModRM&7) + extended(int(in.ImmOff)-2)
	case in.Op == 0xc7 && in.Base == 4 && in.Index == arch.NoReg:
		return passedIn{'s', int64(t.disp)}, true
	}
	return passedIn{'r', reg}, slices.Contains([]int64{7, 6, 2, 1, 8, 9}, reg) // rdi rsi rdx rcx r8 r9
}

// counts says whether an instruction takes rcx, rsi or rdi for itself: rep stos, shl.
func counts(in *arch.Inst) bool {
	return in.Map == 0 && (in.Op >= 0xa4 && in.Op <= 0xa7 || in.Op >= 0xaa && in.Op <= 0xaf || in.Op == 0xd2 || in.Op == 0xd3)
}

// fileOfCall is the name of a source file that the call gets for which instruction
// k of f loads something, with the callee and the pushes between. Compilers let
// several such calls share their end. ok is false when another constant that
// differs is loaded for the same call.
func (d *Diff) fileOfCall(f *Func, base, all []token, k int) (file string, callee image.Addr, pushes int64, ok bool) {
	first := k
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
	none := func() (string, image.Addr, int64, bool) { return "", 0, 0, false }
	for hops := 0; k < len(all) && hops < 4; {
		t := &all[k]
		switch {
		case k != first && t.ref < 0 && t.imm != base[k].imm, counts(&t.in):
			return none()
		case t.in.IsCall(), t.in.IsJump() && t.ref >= 0 && f.Refs[t.ref].Kind == Jump:
			if t.ref >= 0 {
				callee = f.Refs[t.ref].Target
			}
			return found, callee, pushes, found != ""
		case t.in.IsRet(), t.in.IsJump() && t.in.IsIndirect():
			return none()
		case t.in.IsJump():
			to, _ := t.in.Target(uint64(f.Lo)+uint64(t.at), d.Fixed.Text(f)[t.at:])
			n, ok := slices.BinarySearchFunc(all, uint32(to-uint64(f.Lo)), func(t token, at uint32) int { return cmp.Compare(t.at, at) })
			if !ok {
				return none()
			}
			k, hops = n, hops+1
			continue
		}
		look(t)
		if k != first && t.in.Map == 0 && (t.in.Op >= 0x50 && t.in.Op <= 0x57 || t.in.Op == 0x68 || t.in.Op == 0x6a || t.in.Op == 0xff && t.in.Reg() == 6) {
			pushes++
		}
		k++
	}
	return none()
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

// timeOfBuild says whether the strings at ta and tb are what __DATE__ or __TIME__
// stands for: both changed in these functions, and all dates of that form that
// changed anywhere in the images became the same one.
func (d *Diff) timeOfBuild(a, b *Func, ta, tb image.Addr) bool {
	text := func(c *Code, t image.Addr) string { return string(c.Bytes(t, max(c.CString(t), 1)-1)) }
	x, y := text(d.Base, ta), text(d.Fixed, tb)
	if !(stamps.IsDate(x) && stamps.IsDate(y)) && !(stamps.IsTime(x) && stamps.IsTime(y)) {
		return false
	}
	date, time := "", false
	for k := range b.Refs {
		p, q := &a.Refs[k], &b.Refs[k]
		if p.Class != image.ROData || q.Class != image.ROData || q.Kind != Lea {
			continue
		}
		x, y := text(d.Base, p.Target), text(d.Fixed, q.Target)
		if stamps.IsDate(x) && stamps.IsDate(y) && x != y {
			if !stamps.Later(x, y) || date != "" && date != y {
				return false
			}
			date = y
		}
		time = time || stamps.IsTime(x) && stamps.IsTime(y) && x != y
	}
	if date == "" || !time {
		return false
	}
	was, is := d.Base.dates(), d.Fixed.dates()
	for x := range is {
		if x != date && !was[x] {
			return false
		}
	}
	return true
}

// dates are those at the end of strings in the form of __DATE__.
func (c *Code) dates() map[string]bool {
	out := map[string]bool{}
	for _, s := range c.Sections {
		if s.Class != image.ROData && s.Class != image.Data {
			continue
		}
		for _, date := range stamps.Dates(s.Data) {
			out[date] = true
		}
	}
	return out
}

// noiseString compares the strings at ta and tb.
func (d *Diff) noiseString(ta, tb image.Addr) bool {
	na, nb := d.Base.CString(ta), d.Fixed.CString(tb)
	if na < 2 || nb < 2 {
		return false
	}
	key := [2]image.Addr{ta, tb}
	noise, known := d.noises[key]
	if !known {
		noise = d.noiseTexts(string(d.Base.Bytes(ta, na-1)), string(d.Fixed.Bytes(tb, nb-1)))
		d.noises[key] = noise
	}
	return noise
}

// Texts with stamps are short, and few: what is longer than longestNoise bytes, or
// more than mostNoise bytes in all, is a change.
const (
	longestNoise = 16 << 10
	mostNoise    = 4 << 20
)

// SameButVersion says whether two names of files differ only in the version of the
// package: libisc-9.18.49-1~deb12u1-Debian.so.
func (d *Diff) SameButVersion(base, fixed string) bool { return d.noiseTexts(base, fixed) }

func (d *Diff) noiseTexts(x, y string) bool {
	n := max(len(x), len(y))
	if n > longestNoise || d.noiseSize+n > mostNoise {
		return false
	}
	d.noiseSize += n
	base := stamps.Origin{Version: d.options.BaseVersion, BuildID: d.Base.BuildID}
	fixed := stamps.Origin{Version: d.options.FixedVersion, BuildID: d.Fixed.BuildID}
	return stamps.Only(x, y, base, fixed)
}
