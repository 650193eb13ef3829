package proc

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// What we need of an ELF file is in its first page nearly always: the header,
// the program headers and the build-id note. gABI 4.1, chapters 4 and 5.

const (
	pageSize   = 4096
	ehdrSize   = 64
	phdrSize   = 56
	maxPhdrs   = 512      // ld's own tables have about 13
	maxNotes   = 64 << 10 // bytes of all PT_NOTE together; usual are 200
	maxBuildID = 64       // bytes; SHA-1 has 20, the largest hash 64
	maxSpan    = 1 << 40  // bytes between the first and the last PT_LOAD
)

// segment is a PT_LOAD or PT_NOTE.
type segment struct {
	off, addr, file, mem uint64
	flags                elf.ProgFlag
}

// header is what an ELF file says about its loading.
type header struct {
	loads, notes []segment
}

// parseHeader reads the ELF header and the program headers. ok is false, with
// no error, for what is no x86-64 executable or library.
// at reads the file at an offset.
func parseHeader(first []byte, at func(p []byte, off uint64) error) (h header, ok bool, err error) {
	le := binary.LittleEndian
	if len(first) < ehdrSize || string(first[:4]) != elf.ELFMAG ||
		first[elf.EI_CLASS] != byte(elf.ELFCLASS64) || first[elf.EI_DATA] != byte(elf.ELFDATA2LSB) ||
		elf.Machine(le.Uint16(first[18:])) != elf.EM_X86_64 {
		return h, false, nil
	}
	if t := elf.Type(le.Uint16(first[16:])); t != elf.ET_EXEC && t != elf.ET_DYN {
		return h, false, nil
	}
	off, size, n := le.Uint64(first[32:]), le.Uint16(first[54:]), uint64(le.Uint16(first[56:]))
	if size != phdrSize || n == 0 || n > maxPhdrs || off < ehdrSize || off > 1<<40 {
		return h, false, fmt.Errorf("%d program headers of %d bytes at %#x", n, size, off)
	}
	var ph []byte
	if end := off + n*phdrSize; end <= uint64(len(first)) {
		ph = first[off:end]
	} else {
		ph = make([]byte, n*phdrSize)
		if err := at(ph, off); err != nil {
			return h, false, fmt.Errorf("read program headers: %w", err)
		}
	}
	for ; len(ph) > 0; ph = ph[phdrSize:] {
		s := segment{
			flags: elf.ProgFlag(le.Uint32(ph[4:])),
			off:   le.Uint64(ph[8:]), addr: le.Uint64(ph[16:]),
			file: le.Uint64(ph[32:]), mem: le.Uint64(ph[40:]),
		}
		t := elf.ProgType(le.Uint32(ph))
		if (t == elf.PT_LOAD || t == elf.PT_NOTE) && (s.addr+s.mem < s.addr || s.off+s.file < s.off || s.file > s.mem && t == elf.PT_LOAD) {
			return h, false, fmt.Errorf("segment of %#x bytes at %#x", s.mem, s.addr)
		}
		switch {
		case t == elf.PT_LOAD && s.mem > 0:
			h.loads = append(h.loads, s)
		case t == elf.PT_NOTE:
			h.notes = append(h.notes, s)
		}
	}
	return h, len(h.loads) > 0, nil
}

// span is the page-aligned range that the PT_LOADs cover, as linked.
func (h header) span() (lo, hi uint64) {
	lo = ^uint64(0)
	for _, s := range h.loads {
		lo, hi = min(lo, floor(s.addr)), max(hi, ceil(s.addr+s.mem))
	}
	return lo, hi
}

// start is the linked address of the file's first byte: that of the PT_LOAD
// that covers offset 0, and the lower one when two share the first page.
func (h header) start() (addr uint64, ok bool) {
	for _, s := range h.loads {
		if floor(s.off) == 0 && s.file > 0 && (!ok || floor(s.addr) < addr) {
			addr, ok = floor(s.addr), true
		}
	}
	return addr, ok
}

// buildID looks through the notes; "" when there is none. place says where a
// note segment is to be read from (an offset of a file, an address in memory).
func (h header) buildID(place func(segment) uint64, at func(p []byte, off uint64) error) (string, error) {
	left := uint64(maxNotes)
	for _, s := range h.notes {
		if s.file > left {
			return "", fmt.Errorf("note segment of %d bytes: no more than %d are looked through", s.file, maxNotes)
		}
		left -= s.file
		b := make([]byte, s.file)
		if err := at(b, place(s)); err != nil {
			return "", fmt.Errorf("read notes: %w", err)
		}
		if id := findBuildID(b); id != "" {
			return id, nil
		}
	}
	return "", nil
}

// findBuildID looks for NT_GNU_BUILD_ID, owner "GNU", in notes that are padded
// to 4 bytes. Notes padded to 8 (.note.gnu.property) are in a segment of their
// own and their sizes are multiples of both.
func findBuildID(b []byte) string {
	const ntGNUBuildID = 3
	le := binary.LittleEndian
	for len(b) >= 12 {
		name, desc, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		b = b[12:]
		nameEnd := (name + 3) &^ 3
		if nameEnd > uint64(len(b)) || desc > uint64(len(b))-nameEnd {
			return ""
		}
		if typ == ntGNUBuildID && name == 4 && string(b[:4]) == "GNU\x00" && desc > 0 && desc <= maxBuildID {
			return hex.EncodeToString(b[nameEnd:][:desc])
		}
		b = b[min(nameEnd+(desc+3)&^3, uint64(len(b))):]
	}
	return ""
}

var errNotELF = errors.New("no x86-64 ELF file")

// fileBuildID is the build-id of an ELF file.
func fileBuildID(r io.ReaderAt) (string, error) {
	at := func(p []byte, off uint64) error {
		_, err := r.ReadAt(p, int64(off))
		return err
	}
	// The first page nearly always has all of it; the file may be shorter.
	lent := pages().Get().(*[pageSize]byte)
	defer pages().Put(lent)
	n, err := r.ReadAt(lent[:], 0)
	if n < ehdrSize || err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read ELF header: %w", err)
	}
	at = within(lent[:n], 0, at)
	h, ok, err := parseHeader(lent[:n], at)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errNotELF
	}
	return h.buildID(func(s segment) uint64 { return s.off }, at)
}

func floor(a uint64) uint64 { return a &^ (pageSize - 1) }
func ceil(a uint64) uint64  { return (a + pageSize - 1) &^ (pageSize - 1) }
