package image

import (
	"debug/elf"
	"fmt"
)

// Libraries that the loader looks for symbols in before, or instead of, the one that
// names them (gABI, "Dynamic Section"; debug/elf does not know the numbers).
const (
	dtAuxiliary = elf.DynTag(0x7ffffffd)
	dtFilter    = elf.DynTag(0x7fffffff)
)

// readDynamic takes names and kinds from the dynamic section.
func (m *Image) readDynamic(f *file) error {
	var flags uint64
	stack := f.segment(elf.PT_GNU_STACK)
	m.Guards = Guards{Stack: stack != nil && elf.ProgFlag(stack.Flags)&elf.PF_X == 0, RelRO: f.segment(elf.PT_GNU_RELRO) != nil, Text: true}
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
				m.Guards.Now = m.Guards.Now || elf.DynFlag1(val)&elf.DF_1_NOW != 0
			case elf.DT_BIND_NOW:
				m.Guards.Now = true
			case elf.DT_TEXTREL:
				m.Guards.Text = false
			case elf.DT_SYMBOLIC:
				m.Symbolic = true
			case elf.DT_FLAGS:
				m.Symbolic = m.Symbolic || elf.DynFlag(val)&elf.DF_SYMBOLIC != 0
				m.Guards.Now = m.Guards.Now || elf.DynFlag(val)&elf.DF_BIND_NOW != 0
				m.Guards.Text = m.Guards.Text && elf.DynFlag(val)&elf.DF_TEXTREL == 0
			case elf.DT_SONAME, elf.DT_NEEDED, elf.DT_RPATH, elf.DT_RUNPATH, dtAuxiliary, dtFilter:
				s, err := names.at64(val)
				if err != nil {
					return fmt.Errorf("section %s: entry %d (%v): %w", h.Name, i/16, tag, err)
				}
				switch tag {
				case elf.DT_SONAME:
					m.Soname = s
				case elf.DT_NEEDED:
					m.Needed = append(m.Needed, s)
				case dtAuxiliary, dtFilter:
					m.Filters = append(m.Filters, s)
				default:
					m.SearchPaths = append(m.SearchPaths, s)
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
