package diff

import (
	"fmt"
	"slices"

	"hotpatch/internal/image"
)

// callbacks compares what functions take whose addresses may be kept: who has kept
// one hands over what the old function took.
func (l *layouts) callbacks(d *Diff, functions []*Func) (out []Layout) {
	base, fixed := placeUnits(l.base), placeUnits(l.fixed)
	c := layoutComparison{l: l}
	var kept map[image.Addr]bool
	for _, f := range functions {
		a := d.BaseOf(f)
		if a == nil || len(f.Names) == 0 || len(a.Names) == 0 {
			continue
		}
		us, vs := base.holding(a.Lo), fixed.holding(f.Lo)
		if len(us) != 1 || len(vs) != 1 {
			continue
		}
		x, y := us[0].parameters(stem(a.Names[0])), vs[0].parameters(stem(f.Names[0]))
		for _, q := range y {
			i := slices.IndexFunc(x, func(p usedKind) bool { return p.position == q.position })
			if i < 0 {
				continue
			}
			p, s := structOf(x[i].kind), structOf(q.kind)
			if p.text == s.text || p.def == s.def && p.def != "" || c.readStruct(p, s, 0) == unchanged {
				continue
			}
			if kept == nil {
				kept = d.Base.handedOut()
			}
			if kept[a.Lo] {
				out = append(out, Layout{
					Type:    fmt.Sprintf("parameter %d of %s", q.position, f.Name()),
					Detail:  fmt.Sprintf("leads to %s instead of %s, and pointers to the function may be kept", s, p),
					Padding: true,
				})
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
