package rebuild

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// symbol is one of the debug file, at an address of the shipped image.
type symbol struct {
	name    string
	info    byte
	other   byte
	value   uint64 // of thread-local ones: the offset in their block
	size    uint64
	section string // where it is; the shipped image has one of that name
}

// debugFile is what one will hold, as objcopy --only-keep-debug would make it:
// headers of the shipped image's sections without their content, its notes (one
// is the build-id), symbols, DWARF of the rebuilt image, and the evidence.
type debugFile struct {
	shipped, rebuilt *elf.File
	symbols          []symbol
	evidence         *Evidence
	// named: the symbols are all there were, so that what has no name has none.
	named bool
}

// Sections with types alone; the others of DWARF hold addresses of code.
var typeSections = []string{".debug_info", ".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_str_offsets", ".debug_types", ".debug_addr"}

// section is one to be written.
type section struct {
	elf.SectionHeader
	nameAt uint32
	data   io.Reader // of FileSize bytes; nil: none
}

const (
	ehdrSize = 64
	phdrSize = 56
	shdrSize = 64
	symSize  = 24
)

var le = binary.LittleEndian

// write makes the file below dir, under the name that its build-id asks for.
// What is there already is replaced at once.
func (d *debugFile) write(dir string) (path string, err error) {
	path, err = debugPath(dir, d.evidence.BuildID)
	if err != nil {
		return "", err
	}
	err = replaceFile(path, d.encode)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}

// debugPath is where gdb and hotpatch look for the debug file of a build-id.
func debugPath(dir string, id image.BuildID) (string, error) {
	if len(id) < 3 || strings.Trim(string(id), "0123456789abcdef") != "" {
		return "", fmt.Errorf("build-id %.80q has no file name", id)
	}
	return filepath.Join(dir, ".build-id", string(id[:2]), string(id[2:])+".debug"), nil
}

// replaceFile writes a file completely or not at all.
func replaceFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// encode writes the ELF file: header, program headers, contents in the order of
// their headers, section headers. Same input, same bytes.
func (d *debugFile) encode(w io.Writer) error {
	sections, err := d.sections()
	if err != nil {
		return err
	}
	loads := d.loads()
	off := uint64(ehdrSize + phdrSize*len(loads))
	for i := range sections {
		s := &sections[i]
		if s.Type == elf.SHT_NULL {
			continue
		}
		if a := max(s.Addralign, 1); s.Type != elf.SHT_NOBITS {
			off = (off + a - 1) / a * a
		}
		s.Offset = off
		if s.Type != elf.SHT_NOBITS {
			off += s.FileSize
		}
	}
	shoff := (off + 7) &^ 7
	out := &counter{w: w}
	out.write(d.header(len(loads), shoff, len(sections)))
	for _, p := range loads {
		out.write(p)
	}
	for i := range sections {
		s := &sections[i]
		if s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOBITS {
			continue
		}
		out.pad(s.Offset)
		if err := out.copy(s); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	out.pad(shoff)
	for i := range sections {
		out.write(sections[i].encode())
	}
	return out.err
}

// header is the ELF header; the section names are in the last section.
func (d *debugFile) header(loads int, shoff uint64, sections int) []byte {
	b := make([]byte, ehdrSize)
	copy(b, "\x7fELF\x02\x01\x01")
	b[elf.EI_OSABI] = byte(d.shipped.OSABI)
	le.PutUint16(b[16:], uint16(d.shipped.Type))
	le.PutUint16(b[18:], uint16(d.shipped.Machine))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], d.shipped.Entry)
	if loads > 0 {
		le.PutUint64(b[32:], ehdrSize)
	}
	le.PutUint64(b[40:], shoff)
	le.PutUint16(b[52:], ehdrSize)
	le.PutUint16(b[54:], phdrSize)
	le.PutUint16(b[56:], uint16(loads))
	le.PutUint16(b[58:], shdrSize)
	le.PutUint16(b[60:], uint16(sections))
	le.PutUint16(b[62:], uint16(sections-1))
	return b
}

// loads are the shipped PT_LOADs without content: readers of debug files learn
// from them how the image is spread in memory.
func (d *debugFile) loads() [][]byte {
	var out [][]byte
	for _, p := range d.shipped.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		b := make([]byte, phdrSize)
		le.PutUint32(b, uint32(p.Type))
		le.PutUint32(b[4:], uint32(p.Flags))
		if p.Align > 1 { // gABI: congruent modulo the alignment
			le.PutUint64(b[8:], p.Vaddr%p.Align)
		}
		le.PutUint64(b[16:], p.Vaddr)
		le.PutUint64(b[24:], p.Paddr)
		le.PutUint64(b[40:], p.Memsz)
		le.PutUint64(b[48:], p.Align)
		out = append(out, b)
	}
	return out
}

// sections lists all headers, section 0 and the names included. The allocated
// ones keep the numbers they have in the shipped image, which has them first.
func (d *debugFile) sections() ([]section, error) {
	out := []section{{SectionHeader: elf.SectionHeader{Type: elf.SHT_NULL}}}
	for i, s := range d.shipped.Sections {
		if i == 0 || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if i != len(out) {
			return nil, fmt.Errorf("section %s is allocated and behind one that is not", s.Name)
		}
		h := s.SectionHeader
		h.Link, h.Info, h.Entsize = 0, 0, 0
		h.Flags &^= elf.SHF_INFO_LINK | elf.SHF_LINK_ORDER | elf.SHF_GROUP
		x := section{SectionHeader: h}
		if s.Type == elf.SHT_NOTE {
			x.data = rawSection(s)
		} else {
			x.Type = elf.SHT_NOBITS
		}
		out = append(out, x)
	}
	note, err := d.evidence.note()
	if err != nil {
		return nil, err
	}
	out = append(out, content(noteSection, elf.SHT_NOTE, 4, note))
	if !d.named {
		out = append(out, content(image.PartialNames, elf.SHT_PROGBITS, 1, []byte("not all symbols are here\n")))
	}
	for _, s := range d.rebuilt.Sections {
		if !d.keep(s) {
			continue
		}
		x := section{SectionHeader: s.SectionHeader, data: rawSection(s)}
		x.Size = s.FileSize // as it is in the file, compressed or not
		x.Link, x.Info = 0, 0
		out = append(out, x)
	}
	if len(d.symbols) > 0 {
		table, names, locals, err := d.symbolTable()
		if err != nil {
			return nil, err
		}
		tab := content(".symtab", elf.SHT_SYMTAB, 8, table)
		tab.Entsize, tab.Link, tab.Info = symSize, uint32(len(out)+1), locals
		out = append(out, tab, content(".strtab", elf.SHT_STRTAB, 1, names))
	}
	out = append(out, section{SectionHeader: elf.SectionHeader{Name: ".shstrtab", Type: elf.SHT_STRTAB, Addralign: 1}})
	names := []byte{0}
	for i := 1; i < len(out); i++ {
		out[i].nameAt = uint32(len(names))
		names = append(append(names, out[i].Name...), 0)
	}
	last := &out[len(out)-1]
	last.data, last.Size, last.FileSize = bytes.NewReader(names), uint64(len(names)), uint64(len(names))
	if len(out) >= int(elf.SHN_LORESERVE) {
		return nil, fmt.Errorf("%d sections", len(out))
	}
	return out, nil
}

// keep: DWARF, of which only the types hold when the layout is another.
func (d *debugFile) keep(s *elf.Section) bool {
	if s.Flags&elf.SHF_ALLOC != 0 || s.Type != elf.SHT_PROGBITS || !strings.HasPrefix(s.Name, ".debug_") {
		return false
	}
	return d.evidence.SameLayout || slices.Contains(typeSections, s.Name)
}

func content(name string, typ elf.SectionType, align uint64, data []byte) section {
	return section{
		SectionHeader: elf.SectionHeader{Name: name, Type: typ, Addralign: align, Size: uint64(len(data)), FileSize: uint64(len(data))},
		data:          bytes.NewReader(data),
	}
}

// rawSection reads a section as it is in the file: debug/elf's own reader would
// unpack it.
func rawSection(s *elf.Section) io.Reader {
	return io.NewSectionReader(s.ReaderAt, 0, int64(s.FileSize))
}

func (s *section) encode() []byte {
	b := make([]byte, shdrSize)
	le.PutUint32(b, s.nameAt)
	le.PutUint32(b[4:], uint32(s.Type))
	le.PutUint64(b[8:], uint64(s.Flags))
	le.PutUint64(b[16:], s.Addr)
	le.PutUint64(b[24:], s.Offset)
	le.PutUint64(b[32:], s.Size)
	le.PutUint32(b[40:], s.Link)
	le.PutUint32(b[44:], s.Info)
	le.PutUint64(b[48:], s.Addralign)
	le.PutUint64(b[56:], s.Entsize)
	return b
}

// symbolTable encodes the symbols, local ones first as gABI asks, and returns
// the number of the first that is not local.
func (d *debugFile) symbolTable() (table, names []byte, locals uint32, err error) {
	index := map[string]uint16{}
	for i, s := range d.shipped.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && index[s.Name] == 0 {
			index[s.Name] = uint16(i)
		}
	}
	all := slices.Clone(d.symbols)
	slices.SortStableFunc(all, func(a, b symbol) int {
		return cmp.Or(cmp.Compare(bound(a), bound(b)), cmp.Compare(a.value, b.value), strings.Compare(a.name, b.name))
	})
	names = []byte{0}
	at := map[string]uint32{"": 0}
	table = make([]byte, symSize)
	locals = 1
	for _, s := range all {
		if _, known := at[s.name]; !known {
			at[s.name] = uint32(len(names))
			names = append(append(names, s.name...), 0)
		}
		if bound(s) == 0 {
			locals++
		}
		if index[s.section] == 0 {
			return nil, nil, 0, fmt.Errorf("symbol %s: the shipped image has no section %s", s.name, s.section)
		}
		table = le.AppendUint32(table, at[s.name])
		table = append(table, s.info, s.other)
		table = le.AppendUint16(table, index[s.section])
		table = le.AppendUint64(table, s.value)
		table = le.AppendUint64(table, s.size)
	}
	return table, names, locals, nil
}

// bound is 0 for local symbols, 1 for others.
func bound(s symbol) int {
	if elf.ST_BIND(s.info) == elf.STB_LOCAL {
		return 0
	}
	return 1
}

// counter writes and knows where it is; after an error it writes nothing.
type counter struct {
	w   io.Writer
	at  uint64
	err error
}

func (c *counter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
		c.at += uint64(len(b))
	}
}

func (c *counter) pad(to uint64) {
	for zero := [4096]byte{}; c.err == nil && c.at < to; {
		c.write(zero[:min(to-c.at, uint64(len(zero)))])
	}
}

func (c *counter) copy(s *section) error {
	if c.err != nil {
		return c.err
	}
	n, err := io.Copy(c.w, s.data)
	c.at += uint64(n)
	if err == nil && uint64(n) != s.FileSize {
		err = fmt.Errorf("has %d bytes, not %d", n, s.FileSize)
	}
	c.err = err
	return err
}
