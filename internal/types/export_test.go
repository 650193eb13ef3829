package types

import (
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// ReadOne reads types as Read does and says how many names there are.
func ReadOne(d *image.DWARF) (int, error) {
	set, err := readTable(d)
	if set == nil {
		return 0, err
	}
	p := Pair{set, set}
	return len(set.defs) + len(p.Compare(nil)), err
}

// Unread is what could not be understood of the types, "" for nothing.
func Unread(d *image.DWARF) (string, error) {
	set, err := readTable(d)
	if set == nil {
		return "", err
	}
	return set.unread, err
}

// UnitTypes says by name of each unit what it knows of types: all that decides
// what is compared.
func UnitTypes(m *image.Image) (map[string]string, error) {
	set, err := tableOf(m)
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
		out[u.Name] += fmt.Sprintf("whole %v, imports %v, %q, code %x\n%s\n", u.Whole, u.imports, u.Partial, u.ranges, strings.Join(lines, "\n"))
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
