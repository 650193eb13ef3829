package diff

import (
	"cmp"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// variables compares how the bits of the variables are read that functions are
// bound to, and of thread-local ones where functions use any: they are at the same
// places in both images.
func (l *layouts) variables(d *Diff, functions []*Func, bound []Value) (out []Layout) {
	c := layoutComparison{l: l}
	add := func(x, y *variable) {
		r := c.read(x.kind, y.kind, 0)
		if r == unchanged {
			return
		}
		out = append(out, Layout{
			Type:    "variable " + cmp.Or(y.name, x.name, variableName(d.Fixed, y.at)),
			Detail:  c.differs(x.kind, y.kind),
			Padding: r != misread,
		})
	}
	base, fixed := placeUnits(l.base), placeUnits(l.fixed)
	seen := map[image.Addr]bool{}
	for _, v := range bound {
		y, ok := fixed.variable(v.Fixed)
		if !ok || seen[y.at] {
			continue
		}
		x, ok := base.variable(v.Base)
		if !ok || v.Base-x.at != v.Fixed-y.at {
			continue
		}
		seen[y.at] = true
		add(&x, &y)
	}
	if slices.ContainsFunc(functions, func(f *Func) bool { return d.usesThreads(d.Fixed, f) }) {
		x, y := threadVariables(l.base), threadVariables(l.fixed)
		for i := range y {
			if k, ok := slices.BinarySearchFunc(x, y[i].at, func(v variable, a image.Addr) int { return compareAddr(v.at, a) }); ok {
				add(&x[k], &y[i])
			}
		}
	}
	// Others may be reached through pointers that old code hands over.
	for _, o := range d.data.objects.fixed {
		if !o.sure || o.read || o.size != o.base.size || seen[o.addr] {
			continue
		}
		y, ok := fixed.variable(o.addr)
		x, known := base.variable(o.base.addr)
		if ok && known && y.at == o.addr && x.at == o.base.addr && c.read(x.kind, y.kind, 0) == misread {
			add(&x, &y)
		}
	}
	slices.SortFunc(out, func(a, b Layout) int { return strings.Compare(a.Type+"\x00"+a.Detail, b.Type+"\x00"+b.Detail) })
	return slices.Compact(out)
}

// threadVariables are the thread-local variables, by their places in the block.
func threadVariables(t *typeSet) (out []variable) {
	for _, u := range t.units {
		for _, o := range u.threads {
			out = append(out, variable{at: o.at, name: o.name, kind: o.kind})
		}
	}
	slices.SortStableFunc(out, func(a, b variable) int { return compareAddr(a.at, b.at) })
	return slices.CompactFunc(out, func(a, b variable) bool { return a.at == b.at })
}
