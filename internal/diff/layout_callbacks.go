package diff

import (
	"hotpatch/internal/image"
	"hotpatch/internal/names"
	"hotpatch/internal/types"
)

// callbacks compares what functions take whose addresses may be kept: who has kept
// one hands over what the old function took.
func (l *layouts) callbacks(functions []*Func) (out []types.Difference) {
	d, c := l.d, l.types.Comparison()
	var kept map[image.Addr]bool
	for _, f := range functions {
		a := d.BaseOf(f)
		if a == nil || len(f.Names) == 0 || len(a.Names) == 0 {
			continue
		}
		us, vs := l.base.Holding(a.Lo), l.fixed.Holding(f.Lo)
		if len(us) != 1 || len(vs) != 1 {
			continue
		}
		for _, found := range c.Parameters(us[0], vs[0], names.Stem(a.Names[0]), names.Stem(f.Names[0])) {
			if kept == nil {
				kept = d.Base.handedOut()
			}
			if kept[a.Lo] {
				found.Type += " of " + f.Name()
				found.Detail += ", and pointers to the function may be kept"
				out = append(out, found)
			}
		}
	}
	return out
}

// handedOut are the places in code whose addresses code takes or tables hold.
func (c *Code) handedOut() map[image.Addr]bool {
	out := map[image.Addr]bool{}
	for _, f := range c.Funcs {
		for k := range f.Refs {
			if r := &f.Refs[k]; r.Class == image.Text && r.Kind == Lea {
				out[r.Target] = true
			}
		}
	}
	for i := range c.Relocs {
		if t, ok := Pointee(&c.Relocs[i]); ok {
			out[t] = true
		}
	}
	return out
}
