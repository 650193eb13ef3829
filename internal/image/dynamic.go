package image

import (
	"debug/elf"
	"fmt"
)

// readDynamic takes names and kinds from the dynamic section.
func (m *Image) readDynamic(f *file) error {
	var flags uint64
	if h := f.ofType(elf.SHT_DYNAMIC); h != nil {
		b, err := f.data(h)
		if err != nil {
			return err
		}
		names, err := f.linkedStrings(h)
		if err != nil {
			return err
		}
		for i := 0; i+16 <= len(b); i += 16 {
			tag, val := elf.DynTag(le.Uint64(b[i:])), le.Uint64(b[i+8:])
			switch tag {
			case elf.DT_NULL:
				i = len(b)
			case elf.DT_FLAGS_1:
				flags = val
			case elf.DT_SONAME, elf.DT_NEEDED:
				s, err := names.at64(val)
				if err != nil {
					return fmt.Errorf("section %s: entry %d (%v): %w", h.Name, i/16, tag, err)
				}
				if tag == elf.DT_SONAME {
					m.Soname = s
				} else {
					m.Needed = append(m.Needed, s)
				}
			}
		}
	}
	program := f.segment(elf.PT_INTERP) != nil || elf.DynFlag1(flags)&elf.DF_1_PIE != 0 || f.typ == elf.ET_EXEC
	m.Library = m.Soname != "" || !program
	return nil
}

func (t stringTable) at64(off uint64) (string, error) {
	if off > 0xffffffff {
		return "", fmt.Errorf("offset %#x is beyond the string table (%d bytes)", off, len(t))
	}
	return t.at(uint32(off))
}
