package image

import (
	"bufio"
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"math"
)

// TypeUnit is a unit that describes one type, for all units which refer to it by
// signature (gcc -fdebug-types-section; DWARF 4 §7.5.1.2, DWARF 5 §7.5.1.3). The
// linker keeps one of each signature.
type TypeUnit struct {
	Signature uint64
	Type      dwarf.Offset // of the type's entry
	Separate  bool         // both in DWARF.Types, not in DWARF.Data
}

// ReadTypeUnits finds the type units. DWARF 5 has them in .debug_info, DWARF 4 in
// .debug_types, whose entries need .debug_abbrev and .debug_str.
func (d *DWARF) ReadTypeUnits(info io.Reader, types, abbrev, str []byte) error {
	d.Types, d.TypeUnits = nil, nil
	if err := d.unitsOfInfo(info); err != nil {
		return fmt.Errorf("section .debug_info: %w", err)
	}
	if len(types) == 0 {
		return nil
	}
	if err := d.unitsOfTypes(types, abbrev, str); err != nil {
		return fmt.Errorf("section .debug_types: %w", err)
	}
	return nil
}

// unitHeader is the start of a unit's header.
type unitHeader struct {
	len     uint64 // of the unit with all of it; 4: padding
	version uint16
	at      int // of what follows the version
	wide    bool
}

const (
	unitTypeType      = 2 // DW_UT_type
	unitTypeSplitType = 6 // DW_UT_split_type
	// maxUnitHeader is the longest: 64-bit, of a type unit of DWARF 5.
	maxUnitHeader = 12 + 2 + 1 + 1 + 8 + 8 + 8
)

var errUnitCut = errors.New("cut off")

// headerOfUnit decodes what b begins with.
func headerOfUnit(b []byte) (h unitHeader, err error) {
	if len(b) < 4 {
		return h, errUnitCut
	}
	h.len, h.at = uint64(le.Uint32(b))+4, 6
	if h.len == 4 {
		return h, nil
	}
	if h.len == 0xffffffff+4 {
		if len(b) < 14 {
			return h, errUnitCut
		}
		h.wide, h.at = true, 14
		// debug/dwarf takes no more either.
		if h.len = le.Uint64(b[4:]); h.len > math.MaxUint32 {
			return h, fmt.Errorf("%d bytes long", h.len)
		}
		h.len += 12
	}
	if len(b) < h.at || h.len < uint64(h.at) {
		return h, errUnitCut
	}
	h.version = le.Uint16(b[h.at-2:])
	return h, nil
}

// word is the size of the unit's offsets.
func (h *unitHeader) word() int {
	if h.wide {
		return 8
	}
	return 4
}

// typeUnit decodes signature and offset of the type, at b[at:], where the header
// ends with them. unit is where it begins.
func (h *unitHeader) typeUnit(b []byte, at int, unit uint64) (t TypeUnit, end int, err error) {
	end = at + 8 + h.word()
	if end > len(b) {
		return t, 0, fmt.Errorf("unit at %#x: %w", unit, errUnitCut)
	}
	t.Signature = le.Uint64(b[at:])
	off := uint64(le.Uint32(b[at+8:]))
	if h.wide {
		off = le.Uint64(b[at+8:])
	}
	if off < uint64(end) || off >= h.len || unit+h.len > math.MaxUint32 {
		return t, 0, fmt.Errorf("unit at %#x has its type at %#x, and is %#x bytes long", unit, off, h.len)
	}
	t.Type = dwarf.Offset(unit + off)
	return t, end, nil
}

func (d *DWARF) unitsOfInfo(info io.Reader) error {
	r := bufio.NewReaderSize(info, 1<<16)
	for at := uint64(0); ; {
		b, err := r.Peek(maxUnitHeader)
		if err != nil && err != io.EOF {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		h, err := headerOfUnit(b)
		if err != nil {
			return fmt.Errorf("unit at %#x: %w", at, err)
		}
		if h.version >= 5 && len(b) > h.at && (b[h.at] == unitTypeType || b[h.at] == unitTypeSplitType) {
			// Before them: type of unit, size of addresses, abbreviations.
			t, _, err := h.typeUnit(b, h.at+1+1+h.word(), at)
			if err != nil {
				return err
			}
			d.TypeUnits = append(d.TypeUnits, t)
		}
		if _, err := r.Discard(int(h.len)); err != nil {
			return fmt.Errorf("unit at %#x: %w", at, err)
		}
		at += h.len
	}
}

// unitsOfTypes gives .debug_types to debug/dwarf in a shape that it walks: what
// its units have in their headers besides (signature, offset) cleared, so that
// they begin with as many empty entries. No offset changes.
func (d *DWARF) unitsOfTypes(types, abbrev, str []byte) error {
	types = bytes.Clone(types)
	for at := uint64(0); at < uint64(len(types)); {
		h, err := headerOfUnit(types[at:])
		if err == nil && h.len > uint64(len(types))-at {
			err = errUnitCut
		}
		if err != nil {
			return fmt.Errorf("unit at %#x: %w", at, err)
		}
		if h.len > 4 {
			if h.version != 4 {
				return fmt.Errorf("unit at %#x has version %d, not 4", at, h.version)
			}
			b := types[at : at+h.len]
			from := h.at + h.word() + 1 // abbreviations, size of addresses
			t, to, err := h.typeUnit(b, from, at)
			if err != nil {
				return err
			}
			t.Separate = true
			d.TypeUnits = append(d.TypeUnits, t)
			clear(b[from:to])
		}
		at += h.len
	}
	data, err := dwarf.New(abbrev, nil, nil, types, nil, nil, nil, str)
	d.Types = data
	return err
}

// readTypeUnits reads them from the file that d.Data is of.
func (d *DWARF) readTypeUnits(e *elf.File) error {
	var content [3][]byte
	if s := present(e, ".debug_types"); s != nil {
		for i, name := range []string{".debug_types", ".debug_abbrev", ".debug_str"} {
			s := present(e, name)
			if s == nil {
				continue
			}
			b, err := s.Data()
			if err != nil {
				return fmt.Errorf("section %s: %w", name, err)
			}
			content[i] = b
		}
	}
	info := present(e, ".debug_info")
	if info == nil {
		return nil
	}
	return d.ReadTypeUnits(info.Open(), content[0], content[1], content[2])
}

// present is the section if it has content.
func present(e *elf.File, name string) *elf.Section {
	if s := e.Section(name); s != nil && s.Type != elf.SHT_NOBITS && s.Size > 0 {
		return s
	}
	return nil
}
