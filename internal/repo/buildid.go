package repo

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

const (
	maxNotes   = 1 << 20 // bytes of one PT_NOTE
	maxBuildID = 64      // bytes
	ntBuildID  = 3       // NT_GNU_BUILD_ID
)

// buildID is the GNU build-id of an x86-64 ELF file in hex; "" for what is no
// such file, or has none. It looks at program headers and notes alone (gABI
// 4.1, chapter 5), as a server may, which must not be able to look at processes.
func buildID(r io.ReaderAt) (string, error) {
	var magic [4]byte
	if n, err := r.ReadAt(magic[:], 0); n < len(magic) {
		if err == nil || errors.Is(err, io.EOF) {
			return "", nil // too short for a header
		}
		return "", err
	}
	if string(magic[:]) != elf.ELFMAG {
		return "", nil
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "", nil
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		if p.Filesz > maxNotes {
			return "", fmt.Errorf("%w: notes of %d bytes", ErrMalformed, p.Filesz)
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read notes: %w", err)
		}
		if id := findBuildID(notes, p.Align, f.ByteOrder); id != "" {
			return id, nil
		}
	}
	return "", nil
}

// findBuildID goes through notes: sizes of name and content, type, name,
// content, the last two padded to the segment's alignment.
func findBuildID(notes []byte, align uint64, order binary.ByteOrder) string {
	if align != 8 {
		align = 4
	}
	padded := func(n uint32) uint64 { return (uint64(n) + align - 1) &^ (align - 1) }
	for len(notes) >= 12 {
		name, size, kind := order.Uint32(notes), order.Uint32(notes[4:]), order.Uint32(notes[8:])
		notes = notes[12:]
		if padded(name) > uint64(len(notes)) || padded(name)+uint64(size) > uint64(len(notes)) {
			return ""
		}
		content := notes[padded(name):][:size]
		if kind == ntBuildID && name == 4 && string(notes[:4]) == "GNU\x00" && size > 0 && size <= maxBuildID {
			return hex.EncodeToString(content)
		}
		notes = notes[min(padded(name)+padded(size), uint64(len(notes))):]
	}
	return ""
}
