package diff

import (
	"slices"

	"hotpatch/internal/types"
)

// aside are types that no unit of the functions names, and that these use all the
// same: compilers do not describe a type of which code only asks where a member is
// (offsetof), or how large it is. Such code shows in what changed: it reads at the
// place where a member is now instead of where that was, or allocates what a struct
// has now.
func (l *layouts) aside(functions []*Func, known []types.Difference) []types.Difference {
	d := l.d
	in := map[*Func]bool{}
	for _, f := range functions {
		in[f] = true
	}
	moved := slices.DeleteFunc(slices.Clone(d.drift.fields), func(s shift) bool { return !in[s.fn] || s.permuted })
	sizes := slices.DeleteFunc(slices.Clone(d.allocations), func(a Allocation) bool { return !in[a.Func] })
	if len(moved)+len(sizes) == 0 {
		return nil
	}
	return slices.DeleteFunc(l.types.Compare(nil), func(x types.Difference) bool {
		return x.Padding || x.Enum || slices.Contains(known, x) ||
			!slices.ContainsFunc(moved, func(s shift) bool { return l.types.Moved(x.Type, s.from, s.to) }) &&
				!slices.ContainsFunc(sizes, func(a Allocation) bool { return a.Of(x.Was, x.Is) })
	})
}
