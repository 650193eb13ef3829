package image

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// Name is the first name, or fn_<hex of Lo>.
func (f *Func) Name() string {
	if len(f.Names) > 0 {
		return f.Names[0]
	}
	return fmt.Sprintf("fn_%x", uint64(f.Lo))
}

// readFuncs finds the functions.
func (m *Image) readFuncs(f *file) (err error) {
	if m.frames, err = ehFrame(f); err != nil {
		return err
	}
	return m.cutFuncs()
}

// cutFuncs makes Funcs of unwind data and symbols. An FDE has the last word
// about bounds; symbols cut only what no FDE covers. Stretches of code that
// neither describes stay gaps.
func (m *Image) cutFuncs() error {
	funcs := make([]*Func, 0, len(m.frames))
	store := make([]Func, len(m.frames))
	for i := range m.frames {
		fde := &m.frames[i]
		s := m.SectionAt(fde.Lo)
		if s == nil || s.Class != Text || fde.Lo == s.end() {
			continue // of the PLT, or of code that the linker dropped
		}
		if fde.Hi > s.end() {
			return fmt.Errorf(".eh_frame: function %#x-%#x runs past the end of %s (%#x)", fde.Lo, fde.Hi, s.Name, s.end())
		}
		store[i] = Func{Lo: fde.Lo, Hi: fde.Hi, Source: FromFDE, LSDA: fde.LSDA, Fragment: fde.startsInside()}
		funcs = append(funcs, &store[i])
	}
	funcs = m.addSymbolFuncs(funcs)
	slices.SortFunc(funcs, func(a, b *Func) int { return cmp.Compare(a.Lo, b.Lo) })
	keys := make([]Addr, len(funcs))
	for i, f := range funcs {
		f.Index = i
		keys[i] = f.Lo
	}
	m.Funcs, m.funcIndex = funcs, NewIndex(keys)
	m.nameFuncs()
	return nil
}

// addSymbolFuncs adds the sized function symbols that start where no FDE is.
// funcs is sorted; so are the symbols, and the larger of two that start
// together wins.
func (m *Image) addSymbolFuncs(funcs []*Func) []*Func {
	var end Addr // of the last one added
	var last *Func
	next, known := 0, len(funcs)
	for i := range m.Symbols[:m.addressed] {
		s := &m.Symbols[i]
		if !s.function() || s.Size == 0 {
			continue
		}
		for next < known && funcs[next].Hi <= s.Addr {
			next++
		}
		sec := m.SectionAt(s.Addr)
		if sec == nil || sec.Class != Text || next < known && funcs[next].Lo <= s.Addr {
			continue
		}
		hi := min(s.Addr+Addr(s.Size), sec.end())
		if next < known {
			hi = min(hi, funcs[next].Lo)
		}
		switch {
		case hi <= s.Addr: // at the very end, or too large to be true
		case last != nil && s.Addr == last.Lo:
			last.Hi = max(last.Hi, hi)
			end = last.Hi
		case s.Addr >= end:
			last = &Func{Lo: s.Addr, Hi: hi, Source: FromSymbol}
			funcs = append(funcs, last)
			end = hi
		}
	}
	return funcs
}

// nameFuncs gives every function the symbols at its start, and recognises
// parts by them.
func (m *Image) nameFuncs() {
	var inside Addr // end of the function symbols that start before f
	next := 0
	for _, f := range m.Funcs {
		for ; next < m.addressed && m.Symbols[next].Addr < f.Lo; next++ {
			if s := &m.Symbols[next]; s.function() {
				if end := s.Addr + Addr(s.Size); end > s.Addr {
					inside = max(inside, end)
				}
			}
		}
		for _, s := range m.SymbolsAt(f.Lo) {
			// Assembler code without .type has symbols without a type; its
			// local ones are labels.
			if s.function() || s.Type == elf.STT_NOTYPE && !s.Local {
				f.Names = append(f.Names, s.funcName())
			}
		}
		slices.Sort(f.Names)
		f.Names = slices.Compact(f.Names)
		if len(f.Names) == 0 && f.Lo < inside || slices.ContainsFunc(f.Names, cold) {
			f.Fragment = true
		}
	}
}

func cold(name string) bool {
	return strings.HasSuffix(name, ".cold") || strings.Contains(name, ".cold.")
}

func (s *Symbol) function() bool { return s.Type == elf.STT_FUNC || s.Type == elf.STT_GNU_IFUNC }

// funcName tells old versions apart: memcpy@GLIBC_2.2.5 is another function
// than memcpy.
func (s *Symbol) funcName() string {
	if s.Hidden && s.Version != "" {
		return s.Name + "@" + s.Version
	}
	return s.Name
}

// FuncAt is the function whose range holds a, nil when there is none.
func (m *Image) FuncAt(a Addr) *Func {
	if i := m.funcIndex.Find(a); i >= 0 && a < m.Funcs[i].Hi {
		return m.Funcs[i]
	}
	return nil
}

// Gaps are the stretches of executable sections that are no function and no
// PLT, padding included.
func (m *Image) Gaps() []Range {
	var gaps []Range
	next := 0
	for _, s := range m.mapped {
		if s.Class != Text {
			continue
		}
		at := s.Addr
		for ; next < len(m.Funcs) && m.Funcs[next].Lo < s.end(); next++ {
			f := m.Funcs[next]
			if f.Lo > at {
				gaps = append(gaps, Range{at, f.Lo})
			}
			at = max(at, f.Hi)
		}
		if at < s.end() {
			gaps = append(gaps, Range{at, s.end()})
		}
	}
	return gaps
}
