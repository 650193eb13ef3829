package rebuild

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// match holds a rebuilt image against the shipped one, function by function,
// and says which names and types may be kept.
type match struct {
	evidence Evidence
	symbols  []symbol
	named    bool // symbols are all of the rebuilt image's
}

// Origin says what a program or library is.
type Origin struct{ Source, Version, Package, Path string }

// Match holds the file rebuilt against the file shipped, writes the debug file
// of what matches below dir and returns its path. Without evidence nothing
// could be compared; with an error besides nothing could be written.
func Match(ctx context.Context, shipped, rebuilt, dir string, of Origin) (*Evidence, string, error) {
	m, err := matchFiles(ctx, shipped, rebuilt)
	if err != nil {
		return nil, "", err
	}
	e := &m.evidence
	e.Source, e.Version, e.Package, e.Path = of.Source, of.Version, of.Package, of.Path
	path, err := m.keepTypes(shipped, rebuilt, dir)
	return &m.evidence, path, err
}

// matchFiles compares the shipped with the rebuilt file.
func matchFiles(ctx context.Context, shipped, rebuilt string) (*match, error) {
	s, err := image.Open(shipped)
	if err != nil {
		return nil, err
	}
	full, err := image.Open(rebuilt)
	if err != nil {
		return nil, err
	}
	if !full.HasDWARF() {
		return nil, errors.New("the rebuilt file has no types: its rules strip it, or do without -g")
	}
	if link, err := full.SharedLink(); err != nil || link != nil {
		return nil, errors.Join(errors.New("its rules share types out over several files (dwz), in spite of nostrip"), err)
	}
	r, err := openStripped(rebuilt)
	if err != nil {
		return nil, err
	}
	m := &match{evidence: Evidence{
		Format: 1, BuildID: s.BuildID, SameBuildID: s.BuildID == r.BuildID,
		SameLayout: sameSections(s, r, false), Unmatched: []Mismatch{},
	}}
	keep := map[image.Addr]image.Addr{} // rebuilt function to the shipped one
	if sameSections(s, r, true) {
		m.countAll(s, keep)
	} else {
		d, err := diff.Compare(ctx, s, r, diff.Options{})
		if err != nil {
			return nil, err
		}
		m.compare(d, full, keep)
	}
	e := &m.evidence
	// The digest is over the bytes; should they differ all the same, one of the
	// two files is not what the linker made.
	e.SameBuildID = e.SameBuildID && len(e.Unmatched) == 0
	e.Verified = e.trusted()
	e.Unmatched = e.Unmatched[:min(len(e.Unmatched), maxUnmatched)]
	m.named = e.SameLayout && e.Verified
	if m.symbols, err = keepSymbols(rebuilt, m.named, keep); err != nil {
		return nil, fmt.Errorf("read symbols of %s: %w", rebuilt, err)
	}
	return m, nil
}

// openStripped reads an image without its symbol table, as the shipped one is:
// otherwise symbols would bound functions on one side only.
func openStripped(path string) (*image.Image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const typeAt = 4
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	at := le.Uint64(data[40:]) // of the section headers
	for i, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB {
			le.PutUint32(data[at+uint64(i)*shdrSize+typeAt:], uint32(elf.SHT_PROGBITS))
		}
	}
	return image.Read(bytes.NewReader(data), int64(len(data)), path)
}

// sameSections says whether all allocated sections are at the same places, and
// with content, whether they hold the same bytes (but for the build-id).
func sameSections(a, b *image.Image, content bool) bool {
	return slices.EqualFunc(a.Sections, b.Sections, func(x, y *image.Section) bool {
		if x.Name != y.Name || x.Addr != y.Addr || x.Size != y.Size {
			return false
		}
		return !content || x.Name == ".note.gnu.build-id" || bytes.Equal(x.Data, y.Data)
	})
}

// countAll: all bytes are equal, so all functions match.
func (m *match) countAll(s *image.Image, keep map[image.Addr]image.Addr) {
	for _, f := range s.Funcs {
		keep[f.Lo] = f.Lo
		if !f.Fragment {
			m.evidence.Functions++
			m.evidence.Identical++
		}
	}
}

// compare goes through the functions that unwind data or symbols describe.
// Other code, that of the C start-up files, has no types.
func (m *match) compare(d *diff.Diff, full *image.Image, keep map[image.Addr]image.Addr) {
	e := &m.evidence
	name := func(f *diff.Func) string {
		if g := full.FuncAt(f.Lo); g != nil && g.Lo == f.Lo {
			return g.Name()
		}
		return f.Name()
	}
	for _, s := range d.Base.Funcs {
		if s.Source == image.FromGap {
			continue
		}
		if !s.Fragment {
			e.Functions++
		}
		r := d.FixedOf(s)
		if r == nil {
			m.add(Mismatch{Function: s.Name(), Addr: s.Lo, Kind: Missing, Why: "the rebuilt image has no counterpart"})
			continue
		}
		state, why := d.State(r)
		switch state {
		case diff.Same, diff.Noise:
			keep[r.Lo] = s.Lo
			if !s.Fragment {
				e.Identical++
			}
			continue
		}
		kind := kindOf(d, s, r)
		if kind == Strings {
			keep[r.Lo] = s.Lo
		}
		m.add(Mismatch{Function: name(r), Addr: s.Lo, Kind: kind, Why: why})
	}
	for _, r := range d.Fixed.Funcs {
		if r.Source != image.FromGap && d.BaseOf(r) == nil {
			m.add(Mismatch{Function: name(r), Kind: Extra, Why: "only the rebuilt image has it"})
		}
	}
}

func (m *match) add(x Mismatch) { m.evidence.Unmatched = append(m.evidence.Unmatched, x) }

// kindOf says in which way a pair differs. Strings is the kind that has to be
// proven: equal instructions whose references all lead to counterparts, but for
// pieces of text.
func kindOf(d *diff.Diff, s, r *diff.Func) Kind {
	if s.Hash != r.Hash || s.Size() != r.Size() || len(s.Refs) != len(r.Refs) {
		return Code
	}
	text := false
	for k := range r.Refs {
		p, q := &s.Refs[k], &r.Refs[k]
		switch {
		case p.Class != q.Class:
			return Constants
		case p.Class == image.Text:
			f, g := d.Base.At(p.Target), d.Fixed.At(q.Target)
			if f == nil || g == nil || d.BaseOf(g) != f || p.Target-f.Lo != q.Target-g.Lo {
				return Constants
			}
		case p.Class == image.ROData && q.Kind == diff.Lea:
			x, y := cString(d.Base, p.Target), cString(d.Fixed, q.Target)
			if x == "" || y == "" {
				if !sameConstant(d, p.Target, q.Target) {
					return Constants
				}
				continue
			}
			text = text || x != y
		case p.Class == image.ROData:
			if !bytes.Equal(d.Base.Bytes(p.Target, int(q.Width)), d.Fixed.Bytes(q.Target, int(q.Width))) {
				return Constants
			}
		case p.Class.Writable():
			if b := d.Map(q.Target); b.OK() && b.Base != p.Target {
				return Constants
			}
		case p.Class == image.PLT:
			f, _ := d.Base.PLTName(p.Target)
			g, _ := d.Fixed.PLTName(q.Target)
			if f.Name != g.Name {
				return Constants
			}
		case p.Class == image.GOT:
			f, g := d.Base.RelocAt(p.Target), d.Fixed.RelocAt(q.Target)
			if (f == nil) != (g == nil) || f != nil && (f.Type != g.Type || f.Sym != g.Sym) {
				return Constants
			}
		default:
			if !d.SameTable(p.Target, q.Target) {
				return Constants
			}
		}
	}
	if !text {
		return Constants // what made it differ was not found here
	}
	return Strings
}

// sameConstant compares what lies at both places up to what lies behind.
func sameConstant(d *diff.Diff, a, b image.Addr) bool {
	n := min(d.Base.End(a)-a, d.Fixed.End(b)-b)
	return bytes.Equal(d.Base.Bytes(a, int(n)), d.Fixed.Bytes(b, int(n)))
}

// cString is the printable text at a, "" when it is none.
func cString(c *diff.Code, a image.Addr) string {
	n := c.CString(a)
	if n < 2 {
		return ""
	}
	text := string(c.Bytes(a, n-1))
	for i := range len(text) {
		if b := text[i]; b < ' ' && b != '\n' && b != '\t' && b != '\r' && b != 0x1b || b == 0x7f {
			return ""
		}
	}
	return text
}

// keepSymbols reads the rebuilt symbol table. With all, addresses hold as they
// are; otherwise only names of functions that match are kept, at their shipped
// addresses, and no name that one of several functions bears does not match.
func keepSymbols(path string, all bool, keep map[image.Addr]image.Addr) ([]symbol, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	table, err := rawSymbols(f)
	if err != nil {
		return nil, err
	}
	doubtful := map[string]bool{}
	for _, s := range table {
		if _, ok := keep[image.Addr(s.value)]; !ok {
			doubtful[s.name] = true
		}
	}
	var out []symbol
	for _, s := range table {
		typ := elf.SymType(s.info & 0xf)
		if all {
			out = append(out, s)
			continue
		}
		to, ok := keep[image.Addr(s.value)]
		if ok && (typ == elf.STT_FUNC || typ == elf.STT_GNU_IFUNC) && !doubtful[s.name] {
			s.value = uint64(to)
			out = append(out, s)
		}
	}
	return out, nil
}

// rawSymbols are the symbols that name a place of an allocated section.
func rawSymbols(f *elf.File) (out []symbol, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/elf reads what it is given
			out, err = nil, fmt.Errorf("malformed: %v", p)
		}
	}()
	s := f.SectionByType(elf.SHT_SYMTAB)
	if s == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(rawSection(s), maxSymbols))
	if err != nil {
		return nil, err
	}
	if int(s.Link) >= len(f.Sections) {
		return nil, fmt.Errorf("section %s: link %d", s.Name, s.Link)
	}
	names, err := f.Sections[s.Link].Data()
	if err != nil {
		return nil, err
	}
	for i := symSize; i+symSize <= len(data); i += symSize {
		b := data[i:]
		x := symbol{info: b[4], other: b[5], value: le.Uint64(b[8:]), size: le.Uint64(b[16:])}
		switch elf.SymType(x.info & 0xf) {
		case elf.STT_FUNC, elf.STT_OBJECT, elf.STT_NOTYPE, elf.STT_TLS, elf.STT_GNU_IFUNC:
		default:
			continue
		}
		index := le.Uint16(b[6:])
		if index == 0 || int(index) >= len(f.Sections) || f.Sections[index].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		x.section = f.Sections[index].Name
		at := le.Uint32(b)
		if uint64(at) >= uint64(len(names)) {
			return nil, fmt.Errorf("symbol %d: name at %#x of %d bytes", i/symSize, at, len(names))
		}
		x.name, _, _ = strings.Cut(string(names[at:min(int(at)+maxName, len(names))]), "\x00")
		if x.name != "" {
			out = append(out, x)
		}
	}
	return out, nil
}

const (
	maxSymbols = 1 << 30 // bytes
	maxName    = 1 << 16
)

// keepTypes writes the debug file of a match below dir and returns its path.
func (m *match) keepTypes(shipped, rebuilt, dir string) (string, error) {
	s, err := elf.Open(shipped)
	if err != nil {
		return "", err
	}
	defer s.Close()
	r, err := elf.Open(rebuilt)
	if err != nil {
		return "", err
	}
	defer r.Close()
	d := &debugFile{shipped: s, rebuilt: r, symbols: m.symbols, evidence: &m.evidence, named: m.named}
	return d.write(dir)
}
