package image

import (
	"debug/dwarf"
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
		m.Stripped = f.section(PartialNames) != nil
		if err := m.cutFuncs(); err != nil {
			return err
		}
	}
	if f.hasDWARF() {
		m.debug = path
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
		if Addr(h.Addr) != s.Addr || Addr(h.Size) != s.Size {
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
// each call. ErrNoDWARF when there is none, or when it is shared out over a
// second file by dwz, which we do not read.
func (m *Image) DWARF() (*dwarf.Data, error) {
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
		return nil, fmt.Errorf("%s: %w", m.Path, ErrNoDWARF)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	d, err := readDWARF(r, size, path, m.BuildID)
	if err != nil {
		return nil, fmt.Errorf("read debug information of %s: %w", path, err)
	}
	return d, nil
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

// ReadBuildID reads the build-id of any ELF file, debug files included.
func ReadBuildID(path string) (BuildID, error) {
	r, size, c, err := openPath(path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	f, err := openFile(r, size, path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	id, err := f.buildID()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return id, nil
}

// maxDWARF bounds what compressed sections may unpack to.
const maxDWARF = 4 << 30

func readDWARF(r io.ReaderAt, size int64, path string, want BuildID) (d *dwarf.Data, err error) {
	f, err := openFile(r, size, path)
	if err != nil {
		return nil, err
	}
	id, err := f.buildID()
	if err != nil {
		return nil, err
	}
	if id != want {
		return nil, fmt.Errorf("its build-id is %q now, not %q", id, want)
	}
	if f.section(".gnu_debugaltlink") != nil {
		return nil, fmt.Errorf("%w: it is split by dwz (.gnu_debugaltlink)", ErrNoDWARF)
	}
	if err := f.checkCompressed(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // debug/elf and debug/dwarf read what they are given
			d, err = nil, fmt.Errorf("malformed: %v", p)
		}
	}()
	e, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	return e.DWARF()
}

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
