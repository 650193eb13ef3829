package diff

import "debug/dwarf"

// ReadTypes reads types as Layouts does and says how many names there are.
func ReadTypes(d *dwarf.Data) (int, error) {
	set, err := readTypes(d)
	if set == nil {
		return 0, err
	}
	l := layouts{set, set}
	return len(set.defs) + len(l.compare(nil)), err
}
