package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoDWARF says that neither the image nor an attached file has types.
var ErrNoDWARF = errors.New("no debug information")

// PartialNames is a section of a debug file that has only some of the symbols:
// an image with such a file counts as stripped still, for what has no name there
// may have one.
const PartialNames = ".hotpatch.partial"

// AttachDebug adds names (symbols, hence Func.Names) and DWARF from a separate
// debug file; its build-id must equal the image's. Functions that only its
// symbols bound are added, so every *Func got before is stale. To be called
// before the image is shared.
func (m *Image) AttachDebug(path string) error {
	r, size, c, err := openPath(path)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := m.attach(r, size, path); err != nil {
		return fmt.Errorf("read debug file %s: %w", path, err)
	}
	return nil
}

func (m *Image) attach(r io.ReaderAt, size int64, path string) error {
	f, err := openFile(r, size, path)
	if err != nil {
		return err
	}
	id, err := f.buildID()
	if err != nil {
		return err
	}
	if id != m.BuildID {
		return fmt.Errorf("its build-id is %q, that of %s is %q", id, m.Path, m.BuildID)
	}
	if err := m.sameLayout(f); err != nil {
		return err
	}
	tab, err := f.symbolTable(elf.SHT_SYMTAB)
	if err != nil {
		return err
	}
	if len(tab) > 0 && m.Stripped {
		m.setSymbols(append(slices.Clone(m.Symbols), defined(tab)...))
		m.Sources = sources(tab)
		m.Stripped = f.section(PartialNames) != nil
		if err := m.cutFuncs(); err != nil {
			return err
		}
	}
	if f.hasDWARF() {
		m.debug, m.shared = path, ""
	}
	return nil
}

// sameLayout checks that code and data are where the image has them: a debug
// file made before prelink or strip moved things would give wrong names.
func (m *Image) sameLayout(f *file) error {
	for _, s := range m.mapped {
		h := f.section(s.Name)
		if h == nil || s.Class == Meta || s.Class == None {
			continue
		}
		lo, hi := s.Addr, s.end()
		for _, x := range m.mapped { // constants may be in pieces: see splitConstants
			if x.Name == s.Name && x.Addr >= Addr(h.Addr) && x.end() <= Addr(h.Addr+h.Size) {
				lo, hi = min(lo, x.Addr), max(hi, x.end())
			}
		}
		if Addr(h.Addr) != lo || Addr(h.Size) != hi-lo {
			return fmt.Errorf("section %s is at %#x (size %#x), in %s at %#x (size %#x)", s.Name, h.Addr, h.Size, m.Path, s.Addr, s.Size)
		}
	}
	return nil
}

func (f *file) hasDWARF() bool {
	s := f.section(".debug_info")
	return s != nil && s.Type != elf.SHT_NOBITS && s.Size > 0
}

// DWARF is the type information of the file or its debug file, read anew by
// each call. ErrNoDWARF when there is none; ErrNoShared when dwz moved a part of
// it to a file that nobody attached.
func (m *Image) DWARF() (*DWARF, error) {
	var d *DWARF
	err := m.withDebug(func(f *file, path string) (err error) {
		if d, err = f.dwarf(); err == nil {
			err = m.readShared(d, f, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// withDebug opens the file with the debug information for as long as read runs.
func (m *Image) withDebug(read func(f *file, path string) error) error {
	var r io.ReaderAt
	var size int64
	var c io.Closer
	var err error
	path := m.Path
	switch {
	case m.debug != "":
		path = m.debug
		r, size, c, err = openPath(path)
	case m.hasDWARF:
		r, size, c, err = m.reopen()
	default:
		return fmt.Errorf("%s: %w", m.Path, ErrNoDWARF)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := openFile(r, size, path)
	if err != nil {
		return fmt.Errorf("read debug information of %s: %w", path, err)
	}
	id, err := f.buildID()
	if err == nil && id != m.BuildID {
		err = fmt.Errorf("its build-id is %q now, not %q", id, m.BuildID)
	}
	if err == nil {
		err = read(f, path)
	}
	if err != nil {
		return fmt.Errorf("read debug information of %s: %w", path, err)
	}
	return nil
}

// HasDWARF says whether DWARF would find types.
func (m *Image) HasDWARF() bool { return m.hasDWARF || m.debug != "" }

// DebugLink is the name of the file with the debug information, as strip left
// it in .gnu_debuglink; "" when there is none, or it is a path.
func (m *Image) DebugLink() string { return m.debugLink }

// debugLink reads .gnu_debuglink: a name, NUL, padding, a CRC-32. Build-ids tell
// more than the sum.
func (f *file) debugLink() (string, error) {
	h := f.section(".gnu_debuglink")
	if h == nil {
		return "", nil
	}
	b, err := f.data(h)
	if err != nil {
		return "", err
	}
	name, _, ok := strings.Cut(string(b), "\x00")
	if !ok || name != filepath.Base(name) || name == "." || name == ".." || name == "/" {
		return "", nil
	}
	return name, nil
}

// DebugPath is the file that DWARF reads, "" when there is none.
func (m *Image) DebugPath() string {
	if m.debug == "" && m.hasDWARF {
		return m.Path
	}
	return m.debug
}

// SharedPath is what AttachShared was given, "" for nothing.
func (m *Image) SharedPath() string { return m.shared }

// ReadBuildID reads the build-id of any ELF file, debug files and supplementary
// ones included.
func ReadBuildID(path string) (BuildID, error) {
	r, size, c, err := openPath(path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	id, err := readBuildID(r, size, path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return id, nil
}

// maxDWARF bounds what compressed sections may unpack to.
const maxDWARF = 4 << 30

// checkCompressed bounds the sizes that compression headers promise.
func (f *file) checkCompressed() error {
	var total uint64
	for _, h := range f.sections {
		if h.Flags&elf.SHF_COMPRESSED == 0 {
			continue
		}
		b, err := f.bytes(h.Offset, min(h.Size, 24))
		if err != nil {
			return err
		}
		if len(b) < 24 {
			return fmt.Errorf("section %s: compression header cut off", h.Name)
		}
		n := le.Uint64(b[8:])
		// zlib cannot do better than about 1000:1, zstd on types neither.
		if n > 1<<20 && n/1024 > h.Size || n > maxDWARF-total {
			return fmt.Errorf("section %s: %d bytes promise to unpack to %d", h.Name, h.Size, n)
		}
		total += n
	}
	return nil
}
