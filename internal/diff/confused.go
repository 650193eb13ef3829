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

	families map[*object]string       // once asked for
	read     map[*Func]crowdedReading // of fixed functions, once asked for
}

func crowdedObjects(m *image.Image, files sources) crowded {
	c := crowded{several: map[string]bool{}, users: map[*object][]*Func{}, mixed: map[string]bool{}, families: map[*object]string{}, read: map[*Func]crowdedReading{}}
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
	name, ok := c.families[o]
	if !ok {
		name = names.Family(o.name)
		c.families[o] = name
	}
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
	r, ok := fixed.read[f]
	if !ok {
		r = d.readCrowded(base, fixed, a, f)
		fixed.read[f] = r
	}
	p := r.was[o]
	if p == nil || o.base != nil && o.base.addr != p.addr {
		return false
	}
	return r.is[p] == o
}

// crowdedReading is what a pair of functions says of the variables that it refers to.
type crowdedReading struct {
	was map[*object]*object // by fixed variable: what the first reference to it led to
	is  map[*object]*object // by base variable: what all references to it lead to, nil if that is not one
}

func (d *Diff) readCrowded(base, fixed *crowded, a, f *Func) crowdedReading {
	r := crowdedReading{map[*object]*object{}, map[*object]*object{}}
	x, y := d.tokensOf(d.Base, a), d.tokensOf(d.Fixed, f)
	held := make([]*object, len(a.Refs)) // by reference of a
	for k := range a.Refs {
		if a.Refs[k].Class.Writable() {
			held[k] = base.holding(a.Refs[k].Target)
		}
	}
	now := make([]*object, len(a.Refs)) // what f refers to at the same place
	for _, t := range d.align(a, f) {
		for s, t := range pairedRefs(&x[t[0]], &y[t[1]]) {
			if !a.Refs[s].Class.Writable() || !f.Refs[t].Class.Writable() {
				continue
			}
			now[s] = fixed.holding(f.Refs[t].Target)
			if now[s] != nil && r.was[now[s]] == nil {
				r.was[now[s]] = held[s]
			}
		}
	}
	for k, p := range held {
		if p == nil {
			continue
		}
		if to, seen := r.is[p]; !seen {
			r.is[p] = now[k]
		} else if to != now[k] {
			r.is[p] = nil
		}
	}
	return r
}
