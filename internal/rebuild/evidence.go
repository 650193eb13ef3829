package rebuild

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"hotpatch/internal/image"
)

// Evidence says where the types and names of a debug file come from and how
// far they can be believed. It is in the file itself, as a note.
type Evidence struct {
	Format  int           `json:"format"` // 1
	Source  string        `json:"source"`
	Version string        `json:"version"` // of the source package
	Package string        `json:"package"`
	Path    string        `json:"path"` // in the package
	BuildID image.BuildID `json:"build_id"`

	// SameBuildID: the linker's digest over the whole rebuilt file, types
	// included, is the shipped one.
	SameBuildID bool `json:"same_build_id"`
	// SameLayout: every allocated section is where the shipped image has it, so
	// all symbols and addresses hold. Otherwise the file has the names of
	// functions that match, at the shipped addresses, and types.
	SameLayout bool `json:"same_layout"`
	// Verified: the types are those of the shipped image (see trusted).
	Verified bool `json:"verified"`

	Functions int `json:"functions"` // of the shipped image, parts not counted
	Identical int `json:"identical"` // of them, up to addresses and build dates
	// Unmatched are the others, and rebuilt ones without counterpart; at most
	// maxUnmatched of them.
	Unmatched []Mismatch `json:"unmatched"`
}

// Mismatch is a function that differs between the shipped and the rebuilt image.
type Mismatch struct {
	Function string     `json:"function"`
	Addr     image.Addr `json:"addr"` // in the shipped image; 0 for Extra
	Kind     Kind       `json:"kind"`
	Why      string     `json:"why"`
}

// Kind is in which way a function does not match.
type Kind string

const (
	Code      Kind = "code"      // its instructions differ
	Constants Kind = "constants" // equal instructions that use other constants
	Strings   Kind = "strings"   // equal instructions; only text differs: no layout depends on it
	Missing   Kind = "missing"   // the rebuilt image does not have it
	Extra     Kind = "extra"     // only the rebuilt image has it
)

// explained mismatches do not speak against the types.
func (k Kind) explained() bool { return k == Strings }

// String is one sentence for people.
func (e *Evidence) String() string {
	share := fmt.Sprintf("%d of %d functions match", e.Identical, e.Functions)
	switch {
	case e.SameBuildID:
		return fmt.Sprintf("layout verified by a rebuild: same build-id, %s", share)
	case e.Verified && e.Identical < e.Functions:
		return fmt.Sprintf("layout verified by a rebuild: %s, the others differ in text alone", share)
	case e.Verified:
		return fmt.Sprintf("layout verified by a rebuild: %s", share)
	}
	var names []string
	for _, m := range e.Unmatched {
		if !m.Kind.explained() {
			names = append(names, fmt.Sprintf("%s (%s)", m.Function, m.Kind))
		}
	}
	const shown = 5
	if n := len(names); n > shown {
		names = append(names[:shown], fmt.Sprintf("%d more", n-shown))
	}
	return fmt.Sprintf("layout not verified by the rebuild: %s; not %s", share, strings.Join(names, ", "))
}

// The note of a debug file: gABI "Note Section".
const (
	noteSection = ".note.hotpatch.rebuild"
	noteOwner   = "hotpatch\x00"
	noteType    = 3 // 1 and 2 are those of a hotpatch object
	maxNote     = 1 << 20
	// maxUnmatched bounds the list; the counts are exact.
	maxUnmatched = 1000
)

// ErrNoEvidence says that a debug file is not one of ours.
var ErrNoEvidence = errors.New("is not a debug file of a rebuild")

// note encodes e as the content of the note section.
func (e *Evidence) note() ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if len(text) > maxNote {
		return nil, fmt.Errorf("evidence of %d bytes, more than %d", len(text), maxNote)
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(noteOwner)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	b = binary.LittleEndian.AppendUint32(b, noteType)
	b = pad4(append(b, noteOwner...))
	return pad4(append(b, text...)), nil
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseNote is the inverse of note.
func parseNote(b []byte) (*Evidence, error) {
	const head = 12
	if len(b) < head+len(noteOwner) {
		return nil, fmt.Errorf("section %s: only %d bytes", noteSection, len(b))
	}
	name, size, typ := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	if int(name) != len(noteOwner) || string(b[head:head+len(noteOwner)]) != noteOwner || typ != noteType {
		return nil, fmt.Errorf("section %s: not a note of ours", noteSection)
	}
	text := b[min((head+len(noteOwner)+3)&^3, len(b)):]
	if uint64(size) > uint64(len(text)) {
		return nil, fmt.Errorf("section %s: %d bytes of text, has %d", noteSection, size, len(text))
	}
	d := json.NewDecoder(bytes.NewReader(text[:size]))
	d.DisallowUnknownFields()
	var e Evidence
	if err := d.Decode(&e); err != nil {
		return nil, fmt.Errorf("section %s: %w", noteSection, err)
	}
	return &e, e.check()
}

// check keeps what a file says of itself consistent.
func (e *Evidence) check() error {
	switch {
	case e.Format != 1:
		return fmt.Errorf("section %s: format %d, not 1", noteSection, e.Format)
	case e.Functions < 0 || e.Identical < 0 || e.Identical > e.Functions:
		return fmt.Errorf("section %s: %d of %d functions match", noteSection, e.Identical, e.Functions)
	case len(e.Unmatched) > maxUnmatched:
		return fmt.Errorf("section %s: %d mismatches, more than %d", noteSection, len(e.Unmatched), maxUnmatched)
	case e.SameBuildID && (len(e.Unmatched) > 0 || e.Identical != e.Functions):
		return fmt.Errorf("section %s: the build-id is the same although functions differ", noteSection)
	case e.Verified && !e.trusted():
		return fmt.Errorf("section %s: verified although functions differ", noteSection)
	}
	return nil
}

// trusted decides whether the rebuilt types are those of the shipped image.
//
// The source is the very same, so a type can differ only through what it was
// built with: another version of a library's header, another option. Whichever
// function uses such a type shows it, in a displacement or a size; but a
// hotpatch may carry other functions than that one, so one function that
// differs without explanation spoils all types, not only its own. Text that
// differs (a build date, a path) explains itself: no layout depends on it.
// An equal build-id is the linker's digest over everything, types included.
func (e *Evidence) trusted() bool {
	if e.SameBuildID {
		return true
	}
	for _, m := range e.Unmatched {
		if !m.Kind.explained() {
			return false
		}
	}
	return e.Functions > 0 && e.Identical+len(e.Unmatched) >= e.Functions
}

// ReadEvidence reads the note of a debug file. ErrNoEvidence when it has none.
func ReadEvidence(path string) (*Evidence, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := readEvidence(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return e, nil
}

func readEvidence(r io.ReaderAt) (e *Evidence, err error) {
	defer func() {
		if p := recover(); p != nil { // debug/elf reads what it is given
			e, err = nil, fmt.Errorf("malformed: %v", p)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	s := f.Section(noteSection)
	if s == nil {
		return nil, ErrNoEvidence
	}
	if s.Type != elf.SHT_NOTE || s.Flags&elf.SHF_COMPRESSED != 0 || s.FileSize > 2*maxNote {
		return nil, fmt.Errorf("section %s: type %v of %d bytes is not believed", noteSection, s.Type, s.FileSize)
	}
	b := make([]byte, s.FileSize)
	if n, err := s.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("section %s: %w", noteSection, err)
	}
	return parseNote(b)
}
