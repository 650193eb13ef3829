package diff

import (
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// ReadTypes reads types as Layouts does and says how many names there are.
func ReadTypes(d *image.DWARF) (int, error) {
	set, err := readTypes(d)
	if set == nil {
		return 0, err
	}
	l := layouts{set, set}
	return len(set.defs) + len(l.compare(nil)), err
}

// Unread is what could not be understood of the types, "" for nothing.
func Unread(d *image.DWARF) (string, error) {
	set, err := readTypes(d)
	if set == nil {
		return "", err
	}
	return set.unread, err
}

// UnitTypes says by name of each unit what it knows of types: all that decides
// what is compared.
func UnitTypes(m *image.Image) (map[string]string, error) {
	set, err := typesOf(m)
	if err != nil || set == nil {
		return nil, err
	}
	out := map[string]string{"": fmt.Sprint(set.unread, sortedKeys(set.kept), sortedKeys(set.local))}
	for _, u := range set.units {
		var lines []string
		for name, defs := range u.defs {
			for _, d := range defs {
				lines = append(lines, name+" "+d.key)
			}
		}
		opaque := slices.Clone(u.opaque)
		slices.Sort(opaque)
		for _, name := range slices.Compact(opaque) {
			lines = append(lines, name+" declared")
		}
		for _, o := range u.objects {
			lines = append(lines, fmt.Sprintf("variable at %#x: %d bytes", o.at, o.size))
		}
		slices.Sort(lines)
		out[u.name] += fmt.Sprintf("whole %v, imports %v, %q, code %x\n%s\n", u.whole, u.imports, u.partial, u.ranges, strings.Join(lines, "\n"))
	}
	return out, nil
}

func sortedKeys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// RAXAfter says what an instruction does with rax.
func RAXAfter(code []byte) string {
	in, err := arch.Decode(code)
	if err != nil {
		return err.Error()
	}
	return [...]string{raxRead: "read", raxKept: "kept", raxReplaced: "replaced"}[killsRAX(&in, code)]
}

// RestsDiffer is the first place where what is remembered of how objects start
// is not what a comparison says, "" for none; alike counts the others.
func RestsDiffer(d *Diff) (at string, alike int) {
	m := &d.data
	for _, s := range d.Fixed.Sections {
		if !s.Class.Writable() && s.Class != image.RelRO {
			continue
		}
		for _, delta := range []image.Addr{0, word, 4} {
			for v := s.Addr + delta; v < s.Addr+s.Size; v += 4 {
				a := v - delta
				n := min(d.Base.End(a)-a, d.Fixed.End(v)-v)
				got, want := m.restAlike(a, v, n), m.alikeInitially(a, v, n)
				if got != want {
					return fmt.Sprintf("%#x and %#x: %v", a, v, got), alike
				}
				if got {
					alike++
				}
			}
		}
	}
	return "", alike
}

// AccessWidth is accessWidth of the instruction at the start of code, 0 when it
// has no operand in memory.
func AccessWidth(code []byte) (width int, err error) {
	in, err := arch.Decode(code)
	if err != nil || !in.HasMemory() {
		return 0, err
	}
	return int(accessWidth(&in, code)), nil
}

var FamilyOf = familyOf
