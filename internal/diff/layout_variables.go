package diff

import (
	"slices"
	"strings"

	"hotpatch/internal/image"
	"hotpatch/internal/types"
)

// variables compares how the bits of the variables are read that functions are
// bound to, and of thread-local ones where functions use any: they are at the same
// places in both images.
func (l *layouts) variables(functions []*Func, bound []Value) (out []types.Difference) {
	d, c := l.d, l.types.Comparison()
	add := func(x, y *types.Variable) {
		found, differs := c.Variables(x, y)
		if !differs {
			return
		}
		if found.Type == "" {
			found.Type = "variable " + variableName(d.Fixed, y.At)
		}
		out = append(out, found)
	}
	seen := map[image.Addr]bool{}
	for _, v := range bound {
		y, ok := l.fixed.Variable(v.Fixed)
		if !ok || seen[y.At] {
			continue
		}
		x, ok := l.base.Variable(v.Base)
		if !ok || v.Base-x.At != v.Fixed-y.At {
			continue
		}
		seen[y.At] = true
		add(&x, &y)
	}
	if slices.ContainsFunc(functions, func(f *Func) bool { return d.usesThreads(d.Fixed, f) }) {
		x, y := l.types.Threads()
		for i := range y {
			if k, ok := slices.BinarySearchFunc(x, y[i].At, func(v types.Variable, a image.Addr) int { return compareAddr(v.At, a) }); ok {
				add(&x[k], &y[i])
			}
		}
	}
	// Others may be reached through pointers that old code hands over.
	for _, o := range d.data.objects.fixed {
		if !o.sure || o.read || o.size != o.base.size || seen[o.addr] {
			continue
		}
		y, ok := l.fixed.Variable(o.addr)
		x, known := l.base.Variable(o.base.addr)
		if ok && known && y.At == o.addr && x.At == o.base.addr && c.Misread(&x, &y) {
			add(&x, &y)
		}
	}
	slices.SortFunc(out, func(a, b types.Difference) int {
		return strings.Compare(a.Type+"\x00"+a.Detail, b.Type+"\x00"+b.Detail)
	})
	return slices.Compact(out)
}
