package diff

import (
	"fmt"
	"regexp"
	"strings"
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
// numbers alone. Its constants count as such when all moved by one distance
// and those of a changed function nearby moved by the same.
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
		if by, ok := d.moved(f); ok && by == moved {
			d.state[m.Index], d.why[m.Index] = Noise, fmt.Sprintf("line numbers moved by %+d, as in %s", moved, f.Name())
			return
		}
	}
}

// moved is the one distance by which constants of f differ from its base
// function's when nothing else does: they are loaded into registers or passed
// on the stack, and could be line numbers.
func (d *Diff) moved(f *Func) (by int64, ok bool) {
	a := d.baseOf[f.Index]
	if a == nil || len(a.Refs) != len(f.Refs) {
		return 0, false
	}
	if same, _ := d.sameHandlers(a, f); !same {
		return 0, false
	}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, f)
	if len(x) != len(y) {
		return 0, false
	}
	owner := [2]*Func{a, f}
	oldCode, newCode := d.Base.Text(a), d.Fixed.Text(f)
	for k := range x {
		s, t := &x[k], &y[k]
		if s.shape != t.shape || s.disp != t.disp || s.in.Len != t.in.Len {
			return 0, false
		}
		if s.refs != t.refs || s.ref >= 0 && !sameForm(a, f, s, t, oldCode[s.at:], newCode[t.at:]) {
			return 0, false
		}
		for i, j := range pairedRefs(s, t) {
			p, q := &a.Refs[i], &f.Refs[j]
			if same, _ := d.sameRef(p, q, &owner); !same && !d.noiseString(p.Target, q.Target) {
				return 0, false
			}
		}
		if s.ref >= 0 {
			continue
		}
		if s.in.Rel && s.in.Imm(oldCode[s.at:]) != t.in.Imm(newCode[t.at:]) {
			return 0, false
		}
		if s.imm == t.imm {
			continue
		}
		const mostLines, mostMoved = 65000, 2000
		loads := s.in.Map == 0 && (s.in.Op >= 0xb8 && s.in.Op <= 0xbf || s.in.Op == 0xc7 || s.in.Op == 0x68)
		if !loads || min(s.imm, t.imm) < 8 || max(s.imm, t.imm) > mostLines || by != 0 && t.imm-s.imm != by {
			return 0, false
		}
		by = t.imm - s.imm
		if by > mostMoved || by < -mostMoved {
			return 0, false
		}
	}
	return by, by != 0
}

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
		if p.Class != image.ROData || q.Class != image.ROData || q.Kind != Lea || !d.noiseString(p.Target, q.Target) {
			return false
		}
	}
	same, _ := d.sameHandlers(a, b)
	return same
}

// noiseString compares the strings at ta and tb.
func (d *Diff) noiseString(ta, tb image.Addr) bool {
	na, nb := d.Base.CString(ta), d.Fixed.CString(tb)
	if na < 2 || nb < 2 {
		return false
	}
	x, y := string(d.Base.Bytes(ta, na-1)), string(d.Fixed.Bytes(tb, nb-1))
	return NoiseStrings(x, y, d.options.BaseVersion, d.options.FixedVersion)
}

// Pieces of strings that change from build to build and mean nothing to a
// running process. A number alone is none of them: it may be a limit, a
// default or a field width.
var noisePieces = sync.OnceValue(func() []*regexp.Regexp {
	return []*regexp.Regexp{
		// file.c:123, file.c(123), file.c line 123
		regexp.MustCompile(`\.(?:c|cc|cpp|cxx|h|hh|hpp|y|l)(?::| ?\(| ?,? ?line )[0-9]+`),
		// Mon Jan  2 15:04:05 UTC 2006, Mon, 02 Jan 2006 15:04:05 +0000,
		// 2006-01-02T15:04:05Z
		regexp.MustCompile(`\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-3]?[0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9](?: [AP]M)?(?: [A-Z]{3,5})? [0-9]{4}\b`),
		regexp.MustCompile(`\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [ 0-3]?[0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-5][0-9](?: (?:[+-][0-9]{4}|[A-Z]{3,5}))?`),
		regexp.MustCompile(`\b(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?`),
		// Jan  2 2006, 2 Jan 2006, 2006-01-02, 2006/01/02, 15:04:05
		regexp.MustCompile(`\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s+[0-9]{1,2},?\s+[0-9]{4}\b`),
		regexp.MustCompile(`\b[0-9]{1,2}\s+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s+[0-9]{4}\b`),
		regexp.MustCompile(`\b(?:19|20)[0-9]{2}[-/][01]?[0-9][-/][0-3]?[0-9]\b`),
		regexp.MustCompile(`\b[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\b`),
		// build-ids and commits
		regexp.MustCompile(`\b[0-9a-f]{20,64}\b`),
		// 2.6.12-1+deb12u3, 1.22.1: three numbers at least
		regexp.MustCompile(`\b[0-9]+(?:[.:+~-][0-9a-z]*[0-9]){2,}\b`),
	}
})

var ipAddress = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3}){3}$`) })

// objectID: 1.2.840.113549.1.1.4, 2.5.29.17. What they stand for a process needs.
var objectID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:[0-2](?:\.[0-9]+){4,}|2\.5(?:\.[0-9]+){2,})$`) })

const mark = "\x00"

// NoiseStrings says whether two different strings differ only in pieces that
// mean nothing to a running process: versions, dates, line numbers, build-ids.
// va and vb are the package versions when known. Conversions of a format
// (%16s) are never touched.
func NoiseStrings(x, y, va, vb string) bool {
	return x != y && blankNoise(x, va) == blankNoise(y, vb)
}

func blankNoise(s, version string) string {
	if len(version) > 3 {
		s = strings.ReplaceAll(s, version, mark)
		// Programs show the version without epoch or Debian revision.
		if k := strings.IndexByte(version, ':'); k > 0 {
			s = strings.ReplaceAll(s, version[k+1:], mark)
		}
	}
	for _, re := range noisePieces() {
		s = re.ReplaceAllStringFunc(s, func(m string) string {
			if ipAddress().MatchString(m) || objectID().MatchString(m) {
				return m
			}
			return mark
		})
	}
	return s
}
