package diff

import (
	"sort"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// Variables of one family (static ones of one name in one function, mostly) can take
// each other's names and places. Where no function uses two of them, it is known by
// who uses them which is which. Else either a function with equal code has to say it,
// or a changed one, all of whose references to the old variable are found again, and
// lead to one variable.

// findConfused are the variables of the fixed image of which it is not known which of
// their family they were.
func (d *Diff) findConfused() map[*object]bool {
	if !d.data.objects.complete {
		return nil
	}
	base, fixed := crowdedObjects(d.Base.Image, d.sources), crowdedObjects(d.Fixed.Image, d.sources)
	for name := range fixed.several {
		base.several[name] = true
	}
	fixed.several = base.several
	base.all, fixed.all = objectsOf(d.Base.Image, d.sources), d.data.objects.fixed
	if len(base.several) == 0 {
		return nil
	}
	base.use(d.Base)
	fixed.use(d.Fixed)
	out := map[*object]bool{}
	for _, o := range fixed.all {
		name, ok := fixed.name(o)
		if !ok || o.read || !base.mixed[name] && !fixed.mixed[name] {
			continue
		}
		known := false
		for _, f := range fixed.users[o] {
			if known = known || d.known(&base, &fixed, o, f); known {
				break
			}
		}
		if !known {
			out[o] = true
		}
	}
	return out
}

// crowded are the variables of one image whose families have several members.
type crowded struct {
	all     []*object       // by address
	several map[string]bool // families, of either image
	users   map[*object][]*Func
	mixed   map[string]bool // families of which a function uses two
}

func crowdedObjects(m *image.Image, files sources) crowded {
	c := crowded{several: map[string]bool{}, users: map[*object][]*Func{}, mixed: map[string]bool{}}
	first := map[string]string{}
	for _, o := range objectsOf(m, files) {
		if o.read {
			continue
		}
		name := names.Family(o.name)
		if other, ok := first[name]; ok && other != o.name {
			c.several[name] = true
		}
		first[name] = o.name
	}
	return c
}

func (c *crowded) name(o *object) (string, bool) {
	name := names.Family(o.name)
	return name, c.several[name]
}

// holding is the variable of a crowded family that holds a.
func (c *crowded) holding(a image.Addr) *object {
	k := sort.Search(len(c.all), func(i int) bool { return c.all[i].addr > a })
	for i := k - 1; i >= 0 && i >= k-8; i-- { // aliases share an address
		if o := c.all[i]; a < o.addr+o.size {
			if _, ok := c.name(o); ok {
				return o
			}
			return nil
		}
	}
	return nil
}

func (c *crowded) use(code *Code) {
	for _, f := range code.Funcs {
		seen := map[string]*object{}
		for k := range f.Refs {
			if !f.Refs[k].Class.Writable() {
				continue
			}
			o := c.holding(f.Refs[k].Target)
			if o == nil {
				continue
			}
			name, _ := c.name(o)
			if other := seen[name]; other != nil && other != o {
				c.mixed[name] = true
			}
			seen[name] = o
			if all := c.users[o]; len(all) == 0 || all[len(all)-1] != f {
				c.users[o] = append(all, f)
			}
		}
	}
}

// known says that f of the fixed image tells which variable o was.
func (d *Diff) known(base, fixed *crowded, o *object, f *Func) bool {
	a := d.baseOf[f.Index]
	switch {
	case a == nil || !a.described() || !f.described():
		return false
	case a.Hash == f.Hash && len(a.Refs) == len(f.Refs):
		return true
	}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, f)
	was := map[int32]*object{} // references of a, to what f refers to at the same place
	var p *object
	for _, t := range d.align(a, f) {
		for s, t := range pairedRefs(&x[t[0]], &y[t[1]]) {
			if !a.Refs[s].Class.Writable() || !f.Refs[t].Class.Writable() {
				continue
			}
			q := fixed.holding(f.Refs[t].Target)
			was[s] = q
			if q == o && p == nil {
				p = base.holding(a.Refs[s].Target)
			}
		}
	}
	if p == nil || o.base != nil && o.base.addr != p.addr {
		return false
	}
	for k := range a.Refs {
		if a.Refs[k].Class.Writable() && base.holding(a.Refs[k].Target) == p && was[int32(k)] != o {
			return false
		}
	}
	return true
}
