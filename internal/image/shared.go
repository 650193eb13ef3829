package image

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// DWARF is debug information. dwz moves what several debug files have in common
// to one more file, the supplementary one (DWARF 5 §7.3.6), which Debian's
// -dbgsym packages keep below /usr/lib/debug/.dwz.
type DWARF struct {
	*dwarf.Data
	// Shared is that of the supplementary file, nil when there is none.
	// Attributes of the class ClassReferenceAlt mean offsets in it, and so do
	// those of ClassReference whose value is no dwarf.Offset (DW_FORM_ref_sup4
	// and 8, as debug/dwarf reads them).
	Shared        *dwarf.Data
	SharedStrings []byte // its .debug_str
	// Types are the entries of .debug_types (DWARF 4), nil when there is none.
	Types     *dwarf.Data
	TypeUnits []TypeUnit // by where they are, those of Types last
}

// SharedString is the string at an offset in the supplementary file, which
// attributes of ClassStringAlt hold, and those of ClassString whose value is no
// string (DW_FORM_strp_sup). false: it has none there.
func (d *DWARF) SharedString(off uint64) (string, bool) {
	if off >= uint64(len(d.SharedStrings)) {
		return "", false
	}
	s, _, ok := bytes.Cut(d.SharedStrings[off:], []byte{0})
	return string(s), ok
}

// SharedLink says where the supplementary file is: .gnu_debugaltlink (a path,
// NUL, a build-id), or .debug_sup of DWARF 5.
type SharedLink struct {
	Path    string // as dwz was told; if it is not absolute, from the directory of From
	BuildID BuildID
	From    string // the file that has the link
}

// ErrNoShared says that debug information lacks the part that dwz moved to a
// supplementary file. Without it, nothing may be said of types.
var ErrNoShared = errors.New("its supplementary file is missing")

// SharedLink is that of the file which DWARF reads, nil when there is none.
func (m *Image) SharedLink() (*SharedLink, error) {
	if !m.HasDWARF() {
		return nil, nil
	}
	var link *SharedLink
	err := m.withDebug(func(f *file, path string) (err error) {
		link, err = f.sharedLink(path)
		return err
	})
	return link, err
}

// AttachShared tells where the supplementary file of SharedLink is. Its build-id
// must be that of the link. To be called before the image is shared.
func (m *Image) AttachShared(path string) error {
	link, err := m.SharedLink()
	if err != nil {
		return err
	}
	if link == nil {
		return fmt.Errorf("read debug information of %s: it has no supplementary file", m.Path)
	}
	r, size, c, err := openPath(path)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := openShared(r, size, path, link.BuildID); err != nil {
		return fmt.Errorf("read supplementary debug file %s: %w", path, err)
	}
	m.shared = path
	return nil
}

// openShared opens a supplementary file, which must have the build-id.
func openShared(r io.ReaderAt, size int64, path string, want BuildID) (*file, error) {
	f, err := openSections(r, size, path)
	if err != nil {
		return nil, err
	}
	id, err := f.anyID()
	switch {
	case err != nil:
		return nil, err
	case id == "" || id != want:
		return nil, fmt.Errorf("its build-id is %q, not %q", id, want)
	case !f.hasDWARF():
		return nil, errors.New("it has no types (.debug_info)")
	case f.section(altLinkSection) != nil:
		return nil, errors.New("it refers to a supplementary file of its own")
	}
	return f, nil
}

// openSections opens an ELF file that need not be a program or a library: the
// supplementary one is a relocatable object.
func openSections(r io.ReaderAt, size int64, path string) (*file, error) {
	n := uint64(max(size, 0))
	f := &file{name: path, r: r, size: n, unread: min(n, maxContent), object: true}
	h, err := f.fileHeader()
	if err != nil {
		return nil, err
	}
	_, err = f.readSections(h)
	return f, err
}

func readBuildID(r io.ReaderAt, size int64, path string) (BuildID, error) {
	f, err := openSections(r, size, path)
	if err != nil {
		return "", err
	}
	return f.anyID()
}

// anyID is the build-id, or what a supplementary file has instead.
func (f *file) anyID() (BuildID, error) {
	id, err := f.buildID()
	if err == nil && id == "" {
		id, err = f.supplementID()
	}
	return id, err
}

const (
	altLinkSection = ".gnu_debugaltlink"
	supSection     = ".debug_sup"
	maxBuildID     = 64 // bytes; SHA-1 has 20
)

// sharedLink reads the link of a debug file, nil when it has none.
func (f *file) sharedLink(path string) (*SharedLink, error) {
	if h := f.section(altLinkSection); h != nil {
		b, err := f.data(h)
		if err != nil {
			return nil, err
		}
		name, id, ok := bytes.Cut(b, []byte{0})
		if !ok || len(name) == 0 || len(name) > maxName || len(id) == 0 || len(id) > maxBuildID {
			return nil, fmt.Errorf("section %s: %d bytes are no path and build-id", h.Name, len(b))
		}
		return &SharedLink{string(name), BuildID(hex.EncodeToString(id)), path}, nil
	}
	h := f.section(supSection)
	if h == nil {
		return nil, nil
	}
	own, name, id, err := f.supplement(h)
	if err != nil {
		return nil, err
	}
	if own {
		return nil, fmt.Errorf("section %s: this is a supplementary file itself", h.Name)
	}
	return &SharedLink{name, BuildID(hex.EncodeToString(id)), path}, nil
}

// supplementID is the checksum by which a supplementary file of DWARF 5 that has
// no build-id knows itself, "" when it does not.
func (f *file) supplementID() (BuildID, error) {
	h := f.section(supSection)
	if h == nil {
		return "", nil
	}
	own, _, id, err := f.supplement(h)
	if err != nil || !own {
		return "", err
	}
	return BuildID(hex.EncodeToString(id)), nil
}

// supplement decodes .debug_sup (DWARF 5 §7.3.6): version, whether this is the
// supplementary file, name, length of the checksum, checksum.
func (f *file) supplement(h *header) (own bool, name string, id []byte, err error) {
	b, err := f.data(h)
	if err != nil {
		return false, "", nil, err
	}
	bad := fmt.Errorf("section %s: %d bytes are no name and checksum", h.Name, len(b))
	if len(b) < 5 || le.Uint16(b) != 5 || b[2] > 1 {
		return false, "", nil, bad
	}
	own = b[2] == 1
	text, rest, ok := bytes.Cut(b[3:], []byte{0})
	if !ok || len(text) > maxName || len(text) == 0 != own || len(rest) == 0 {
		return false, "", nil, bad
	}
	// A ULEB128 below 128 is one byte.
	if n := int(rest[0]); n == 0 || n > maxBuildID || n > len(rest)-1 {
		return false, "", nil, bad
	}
	return own, string(text), slices.Clone(rest[1 : 1+int(rest[0])]), nil
}

// readShared reads the supplementary file that the debug file f links to into d.
func (m *Image) readShared(d *DWARF, f *file, path string) error {
	link, err := f.sharedLink(path)
	if err != nil || link == nil {
		return err
	}
	if m.shared == "" {
		return fmt.Errorf("%w: %s (build-id %s), where dwz put what several files share", ErrNoShared, link.Path, link.BuildID)
	}
	r, size, c, err := openPath(m.shared)
	if err != nil {
		return err
	}
	defer c.Close()
	g, err := openShared(r, size, m.shared, link.BuildID)
	if err != nil {
		return fmt.Errorf("supplementary file %s: %w", m.shared, err)
	}
	x, err := g.dwarf()
	if err == nil && len(x.TypeUnits) > 0 { // dwz leaves them where they were
		err = errors.New("it has type units")
	}
	if err != nil {
		return fmt.Errorf("supplementary file %s: %w", m.shared, err)
	}
	d.Shared, d.SharedStrings = x.Data, x.SharedStrings
	return nil
}

// dwarf has the sections parsed; the strings are its own, kept of a
// supplementary file only.
func (f *file) dwarf() (d *DWARF, err error) {
	if err := f.checkCompressed(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // debug/elf and debug/dwarf read what they are given
			d, err = nil, fmt.Errorf("malformed: %v", p)
		}
	}()
	e, err := elf.NewFile(f.r)
	if err != nil {
		return nil, err
	}
	d = &DWARF{}
	if d.Data, err = e.DWARF(); err != nil {
		return nil, err
	}
	if err := d.readTypeUnits(e); err != nil {
		return nil, err
	}
	if s := e.Section(".debug_str"); s != nil && f.object {
		if d.SharedStrings, err = s.Data(); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	return d, nil
}
