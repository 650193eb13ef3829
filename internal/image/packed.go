package image

import (
	"debug/elf"
	"fmt"
)

// Relocations as lld packs them with --pack-dyn-relocs=android: "APS2", then
// numbers in signed LEB128. The names are those of bionic's reloc_iterators and
// of LLVM's ELF.h.
const (
	shtAndroidRela = elf.SectionType(0x60000002)
	shtAndroidRelr = elf.SectionType(0x6fffff00) // RELR before it had a number of its own
	packedMagic    = "APS2"
)

// What the relocations of a group have in common.
const (
	groupedByInfo   = 1 << iota // r_info
	groupedByOffset             // the distance from one to the next
	groupedByAddend             // how the addend differs from the one before
	groupHasAddend              // else it is zero
)

// readPacked expands packed relocations. A few bytes can stand for any number of
// them, so there may be no more than the file has words, which linkers give to
// each.
func (m *Image) readPacked(f *file, h *header) error {
	b, err := f.data(h)
	if err != nil {
		return err
	}
	if len(b) < len(packedMagic) || string(b[:len(packedMagic)]) != packedMagic {
		return fmt.Errorf("packed relocations do not begin with %s", packedMagic)
	}
	r := &frameReader{data: b, off: len(packedMagic)}
	left, at := r.sleb(), r.sleb()
	if left < 0 || uint64(left) > f.size/8 {
		return fmt.Errorf("%d packed relocations in a file of %d bytes", left, f.size)
	}
	for addend := int64(0); left > 0 && r.err == nil; {
		n, flags := r.sleb(), r.sleb()
		if r.err == nil && (n <= 0 || n > left || flags&^(groupedByInfo|groupedByOffset|groupedByAddend|groupHasAddend) != 0) {
			return fmt.Errorf("offset %#x: a group of %d relocations, flags %#x, with %d to come", r.off, n, flags, left)
		}
		left -= n
		var step, info int64
		if flags&groupedByOffset != 0 {
			step = r.sleb()
		}
		if flags&groupedByInfo != 0 {
			info = r.sleb()
		}
		switch {
		case flags&groupHasAddend == 0:
			addend = 0
		case flags&groupedByAddend != 0:
			addend += r.sleb()
		}
		for ; n > 0 && r.err == nil; n-- {
			if flags&groupedByOffset == 0 {
				step = r.sleb()
			}
			if flags&groupedByInfo == 0 {
				info = r.sleb()
			}
			if flags&groupHasAddend != 0 && flags&groupedByAddend == 0 {
				addend += r.sleb()
			}
			at += step
			if r.err != nil {
				break
			}
			if err := m.addReloc(f, Addr(at), uint64(info), addend); err != nil {
				return fmt.Errorf("offset %#x: %w", r.off, err)
			}
		}
	}
	return r.err
}
