package property_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
	"hotpatch/test/property"
)

// program is an executable with its symbols (its stripped copy may be what
// runs).
type program struct {
	vars  map[string]elf.Symbol
	named []elf.Symbol // of code and data, by address
	tls   uint64       // size of the thread-local block
	end   uint64       // of the image
	low   uint64       // address of the first page, if it is linked to a fixed one
}

// variableName is the name in the source: compilers add a number (gcc) or the
// function (clang) to static variables of functions. What clang makes of the
// members of a struct, when it takes that to pieces, keeps its number.
func variableName(symbol string) string {
	if m := localStatic.FindStringSubmatch(symbol); m != nil {
		return m[1]
	}
	return symbol
}

var localStatic = regexp.MustCompile(`^(?:\w+\.)?(` + property.StatePrefix + `(?:local|fresh)[0-9]+)(?:\.[0-9]+)?$`)

// pieces says that the program has the variable whole or in pieces of its own,
// and not as name says.
func (p *program) pieces(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	for n := range p.vars {
		if s, _, _ := strings.Cut(n, "."); s == stem {
			return true
		}
	}
	return false
}

func readProgram(path string) (*program, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	p := &program{vars: map[string]elf.Symbol{}, low: ^uint64(0)}
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD {
			p.end = max(p.end, s.Vaddr+s.Memsz)
			p.low = min(p.low, s.Vaddr&^(s.Align-1))
		}
		if s.Type == elf.PT_TLS {
			p.tls = (s.Memsz + s.Align - 1) &^ (s.Align - 1)
		}
	}
	for _, s := range syms {
		t := elf.ST_TYPE(s.Info)
		if t != elf.STT_OBJECT && t != elf.STT_FUNC && t != elf.STT_TLS || s.Section == elf.SHN_UNDEF {
			continue
		}
		if t != elf.STT_FUNC {
			s.Name = variableName(s.Name)
		}
		// What the program never writes, the compiler makes a constant.
		if strings.HasPrefix(s.Name, property.StatePrefix) && t != elf.STT_FUNC && writable(f, s) {
			if _, twice := p.vars[s.Name]; twice {
				return nil, fmt.Errorf("%s: two variables %s", path, s.Name)
			}
			p.vars[s.Name] = s
		}
		if t != elf.STT_TLS {
			p.named = append(p.named, s)
		}
	}
	slices.SortFunc(p.named, func(a, b elf.Symbol) int { return strings.Compare(a.Name, b.Name) })
	return p, nil
}

func writable(f *elf.File, s elf.Symbol) bool {
	if int(s.Section) >= len(f.Sections) {
		return false
	}
	x := f.Sections[s.Section]
	return x.Flags&elf.SHF_WRITE != 0 && !strings.HasPrefix(x.Name, ".data.rel.ro")
}

// namesAt are the symbols that contain addr, with the distance.
func (p *program) namesAt(addr uint64) (out []string) {
	for _, s := range p.named {
		if addr >= s.Value && addr < s.Value+max(s.Size, 1) && !strings.Contains(s.Name, ".") {
			out = append(out, fmt.Sprintf("%s+%d", s.Name, addr-s.Value))
		}
	}
	return out
}

func (p *program) address(name string) (uint64, bool) {
	base, off, _ := strings.Cut(name, "+")
	var n uint64
	fmt.Sscan(off, &n)
	for _, s := range p.named {
		if s.Name == base {
			return s.Value + n, true
		}
	}
	return 0, false
}

// memory is the memory of a running program.
type memory struct {
	*program
	v    *victim
	file *os.File
	maps []proc.Map
	bias uint64

	object    *patch.Object     // when it is patched
	code      uint64            // where the object's Lo is
	of        *program          // the fixed program: the object has its addresses
	taken     map[uint64]uint64 // entries of the fixed program by those they took over
	scratchAt uint64
	applied   bool
}

func openMemory(v *victim, p *program, exe string) (*memory, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", v.pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	m := &memory{program: p, v: v, file: f}
	if m.maps, err = proc.Maps(v.pid); err != nil {
		return nil, err
	}
	exe, err = filepath.EvalSymlinks(exe)
	if err != nil {
		return nil, err
	}
	mapped := false
	for _, x := range m.maps {
		if x.Path == exe && !mapped {
			m.bias, mapped = x.Start-p.low, true
		}
		if x.Path == "[stack]" {
			m.scratchAt = x.Start + 64 // far below what the program uses
		}
	}
	if !mapped {
		return nil, fmt.Errorf("%s is not mapped by %d", exe, v.pid)
	}
	return m, nil
}

// patched tells where the object of the bundle is.
func (m *memory) patched(b *patch.Bundle, of *program) error {
	st, err := txn.Status(m.v.pid)
	if err != nil {
		return err
	}
	if len(st) != 1 || len(st[0].Images) != 1 {
		return fmt.Errorf("the process carries %+v, not one hotpatch", st)
	}
	m.object, m.code, m.of, m.applied = b.Objects[0], st[0].Images[0].Code, of, true
	m.taken = map[uint64]uint64{}
	for _, x := range b.Manifest.Images[0].Sites {
		m.taken[x.Base] = x.To
	}
	m.maps, err = proc.Maps(m.v.pid)
	return err
}

func (m *memory) where(s elf.Symbol) uint64 {
	if elf.ST_TYPE(s.Info) == elf.STT_TLS && m.v.library {
		return m.v.tp
	}
	if elf.ST_TYPE(s.Info) == elf.STT_TLS {
		return m.v.tp - m.tls + s.Value
	}
	return m.bias + s.Value
}

// pointer describes the word w if it is a pointer into an image: its possible
// names. foreign: it leads into the hotpatch.
func (m *memory) pointer(w uint64) (names []string, foreign bool) {
	if w < 1<<20 {
		return nil, false
	}
	var in *proc.Map
	for i := range m.maps {
		if w >= m.maps[i].Start && w < m.maps[i].End {
			in = &m.maps[i]
		}
	}
	if in == nil {
		return nil, false
	}
	addr, p := w-m.bias, m.program
	if m.object != nil && w >= m.code && w < m.code+m.object.RWEnd-m.object.Lo {
		addr, p, foreign = w-m.code+m.object.Lo, m.of, true
		for _, s := range m.object.Symbols {
			if s.Kind == patch.Internal && addr >= s.Value && addr < s.Value+max(s.Size, 1) {
				names = append(names, fmt.Sprintf("%s+%d", s.Name, addr-s.Value))
				// The fixed program calls it so; one that the base program has, too, is told apart.
				if name, ok := strings.CutPrefix(s.Name, "new:"); ok && m.vars[name].Size == 0 {
					names = append(names, fmt.Sprintf("%s+%d", name, addr-s.Value))
				}
			}
		}
	} else if in.Path != "[stack]" && (w < m.bias || w >= m.bias+m.end) { // the stack: see resolve
		return []string{"?" + in.Path + fmt.Sprintf("+%d", w-in.Start)}, false
	}
	names = append(names, p.namesAt(addr)...)
	if to, ok := m.taken[addr]; ok && m.applied && !foreign {
		names = m.of.namesAt(to) // another function may have taken its place
	}
	if len(names) > 0 {
		return names, foreign
	}
	b := make([]byte, 200)
	if _, err := m.file.ReadAt(b[:64], int64(w)); err != nil {
		return []string{"?unreadable"}, foreign
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return []string{`"` + string(b[:i]) + `"`}, foreign
	}
	return []string{"?unknown"}, foreign
}

// cell is eight bytes of a variable, or fewer at its end: bytes or a pointer.
type cell struct {
	bytes   []byte
	names   []string // of what it points to
	foreign bool
}

func (c cell) String() string {
	if c.names != nil {
		return strings.Join(c.names, "|")
	}
	return fmt.Sprintf("%x", c.bytes)
}

// equal: pointers are equal when they may lead to the same thing.
func (c cell) equal(d cell) bool {
	if (c.names == nil) != (d.names == nil) {
		return false
	}
	if c.names == nil {
		return bytes.Equal(c.bytes, d.bytes)
	}
	return slices.ContainsFunc(c.names, func(n string) bool { return slices.Contains(d.names, n) })
}

type state map[string][]cell

// read takes the state of all variables.
func (m *memory) read() (state, error) {
	out := state{}
	for name, s := range m.vars {
		b := make([]byte, s.Size)
		if _, err := m.file.ReadAt(b, int64(m.where(s))); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if err := m.readNew(name, b); err != nil {
			return nil, fmt.Errorf("read what is new of %s: %w", name, err)
		}
		for i := 0; i < len(b); i += 8 {
			c := cell{bytes: b[i:min(i+8, len(b))]}
			if len(c.bytes) == 8 && name != property.StatePrefix+"text" {
				c.names, c.foreign = m.pointer(binary.LittleEndian.Uint64(c.bytes))
			}
			out[name] = append(out[name], c)
		}
	}
	return out, nil
}

// readNew puts over b, the content of a variable, what the hotpatch has instead:
// a part of a variable that nothing in the base program refers to may be taken
// to be new, since nobody can tell.
func (m *memory) readNew(name string, b []byte) error {
	if !m.applied {
		return nil
	}
	for _, n := range m.object.Symbols {
		var lo uint64
		if k, _ := fmt.Sscanf(n.Name, "new:0x%x", &lo); k != 1 {
			continue
		}
		v, ok := m.of.vars[name]
		from, to := max(lo, v.Value), min(lo+n.Size, v.Value+v.Size, v.Value+uint64(len(b)))
		if !ok || from >= to {
			continue
		}
		if _, err := m.file.ReadAt(b[from-v.Value:to-v.Value], int64(m.code+n.Value-m.object.Lo+from-lo)); err != nil {
			return err
		}
	}
	return nil
}

// errForeign: state cannot be put there, as it refers to what is not there.
type errForeign struct{ what string }

func (e *errForeign) Error() string { return e.what }

// write puts st into the process. Variables that it does not have are left out.
func (m *memory) write(st state) error {
	for name, cells := range st {
		s, ok := m.vars[name]
		if !ok && m.pieces(name) {
			return &errForeign{"another piece of a variable: " + name}
		}
		if !ok {
			continue
		}
		var b []byte
		for _, c := range cells {
			if c.names == nil {
				b = append(b, c.bytes...)
				continue
			}
			w, err := m.resolve(c)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		if uint64(len(b)) != s.Size {
			return &errForeign{fmt.Sprintf("variable %s has %d bytes, not %d", name, s.Size, len(b))}
		}
		if _, err := m.file.WriteAt(b, int64(m.where(s))); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func (m *memory) resolve(c cell) (uint64, error) {
	if c.foreign {
		return 0, &errForeign{"a pointer leads into the hotpatch: " + c.String()}
	}
	found := map[uint64]bool{}
	var addr uint64
	for _, n := range c.names {
		if n[0] == '"' {
			s := append([]byte(n[1:len(n)-1]), 0)
			at := m.scratchAt
			m.scratchAt += uint64(len(s))
			_, err := m.file.WriteAt(s, int64(at))
			return at, err
		}
		if a, ok := m.address(n); ok {
			found[a], addr = true, a
		}
	}
	if len(found) != 1 {
		return 0, &errForeign{fmt.Sprintf("a pointer to %s has %d counterparts", c, len(found))}
	}
	return m.bias + addr, nil
}

// differences lists the variables of both that are not equal.
func differences(got, want state) (out []string) {
	for name, a := range got {
		b, ok := want[name]
		if !ok {
			continue
		}
		for i := range min(len(a), len(b)) {
			if !a[i].equal(b[i]) {
				out = append(out, fmt.Sprintf("%s at %d: %s, not %s", name, i*8, a[i], b[i]))
			}
		}
	}
	slices.Sort(out)
	return out
}
