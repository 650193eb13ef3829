package diff

import (
	"cmp"
	"debug/elf"
	"slices"
	"sort"
	"strings"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// object is a named variable.
type object struct {
	name string
	addr image.Addr
	size image.Addr
	base *object // of a fixed object: its counterpart
	sure bool    // the name occurs once in either image
	read bool    // a constant: may change without harm, a copy is carried
	pure bool    // in .rodata: no part of the data map
	file string  // of a static one, if symbols tell: see sources
}

// namedObjects are the variables that symbols name, in both images.
type namedObjects struct {
	fixed    []*object       // by address
	byBase   []*object       // the sure ones, by base address
	complete bool            // both images have full symbol tables
	stems    map[string]bool // of the base objects
}

// nameObjects pairs variables by their symbols. Names that repeat (static
// variables of several functions or files) pair by order when their number and
// their sizes agree. Of two files that both images have, variables are never one.
func nameObjects(base, fixed *image.Image, files sources) namedObjects {
	x, y := objectsOf(base, files), objectsOf(fixed, files)
	out := namedObjects{fixed: y, complete: hasLocals(base) && hasLocals(fixed), stems: map[string]bool{}}
	for _, o := range x {
		out.stems[names.Stem(o.name)] = true
	}
	name := func(o *object) string { return o.name }
	bx, by := groups(x, name), groups(y, name)
	kin := func(o *object) string { return names.Family(o.name) }
	kx, ky := groups(x, kin), groups(y, kin)
	for _, o := range y {
		if p, q := bx[o.name], by[o.name]; len(p) == 1 && len(q) == 1 && !numbered(o.name) && !files.apart(p[0].file, o.file) && len(kx[kin(o)]) == 1 && len(ky[kin(o)]) == 1 {
			o.base, o.sure = p[0], true
		}
	}
	byFile := func(o *object) string { return o.name + "\x00" + o.file }
	fx, fy := groups(x, byFile), groups(y, byFile)
	kin = func(o *object) string { return names.Family(o.name) + "\x00" + o.file }
	kx, ky = groups(x, kin), groups(y, kin)
	for _, o := range y {
		if p, q := fx[byFile(o)], fy[byFile(o)]; o.base == nil && o.file != "" && len(p) == 1 && len(q) == 1 && !numbered(o.name) && len(kx[kin(o)]) == 1 && len(ky[kin(o)]) == 1 {
			o.base, o.sure = p[0], true
		}
	}
	stemOf := func(o *object) string { return names.Stem(o.name) + "\x00" + o.file }
	sx, sy := groups(x, stemOf), groups(y, stemOf)
	for _, o := range y {
		p, q := sx[stemOf(o)], sy[stemOf(o)]
		if o.base != nil || len(p) != len(q) {
			continue
		}
		same := true
		for i := range p {
			same = same && p[i].size == q[i].size && p[i].read == q[i].read
		}
		if same {
			o.base = p[slices.Index(q, o)]
		}
	}
	for _, o := range y {
		if o.sure {
			out.byBase = append(out.byBase, o)
		}
	}
	slices.SortStableFunc(out.byBase, func(a, b *object) int { return compareAddr(a.base.addr, b.base.addr) })
	return out
}

// hasLocals says whether the symbols of static variables are there: not only all
// of .symtab may have gone, but also what nothing but people need (strip -x).
func hasLocals(m *image.Image) bool {
	return !m.Stripped && slices.ContainsFunc(m.Symbols, func(s image.Symbol) bool {
		return s.Local && !s.Dynamic && s.Size > 0 && (s.Type == elf.STT_OBJECT || s.Type == elf.STT_FUNC)
	})
}

// numbered names (count.3) are given in the order of translation and shift
// when a static variable comes or goes.
func numbered(name string) bool { return names.Stem(name) != name }

func objectsOf(m *image.Image, files sources) []*object {
	var out []*object
	for i := range m.Symbols {
		s := &m.Symbols[i]
		class := m.ClassAt(s.Addr)
		if s.Type != elf.STT_OBJECT || !class.Writable() && class != image.RelRO && class != image.ROData || s.Size == 0 {
			continue
		}
		out = append(out, &object{name: s.Name, addr: s.Addr, size: image.Addr(s.Size), read: !class.Writable(), pure: class == image.ROData, file: files.of(s.Source)})
	}
	slices.SortFunc(out, func(a, b *object) int { return cmp.Or(compareAddr(a.addr, b.addr), strings.Compare(a.name, b.name)) })
	return slices.CompactFunc(out, func(a, b *object) bool { return *a == *b })
}

func groups(os []*object, key func(*object) string) map[string][]*object {
	out := map[string][]*object{}
	for _, o := range os {
		k := key(o)
		out[k] = append(out[k], o)
	}
	return out
}

// covering is the named object that holds v, nil when none does.
func (n *namedObjects) covering(v image.Addr) *object {
	k := sort.Search(len(n.fixed), func(i int) bool { return n.fixed[i].addr > v })
	// Aliases share an address; nested objects do not exist.
	for i := k - 1; i >= 0 && i >= k-8; i-- {
		if o := n.fixed[i]; v < o.addr+o.size {
			return o
		}
	}
	return nil
}

// swapped says that a reference to the fixed v cannot be what one to base was:
// base is in a variable that both images name for sure, and v is outside of it.
func (n *namedObjects) swapped(base, v image.Addr) bool {
	k := sort.Search(len(n.byBase), func(i int) bool { return n.byBase[i].base.addr > base })
	for i := k - 1; i >= 0 && i >= k-8; i-- { // aliases share an address
		if p := n.byBase[i]; base < p.base.addr+p.base.size {
			return v < p.addr || v >= p.addr+p.size
		}
	}
	return false
}

// counterpart is where v is in the base image by a name that is unique in both
// and has kept its size.
func (n *namedObjects) counterpart(v image.Addr) (base image.Addr, name string, ok bool) {
	o := n.covering(v)
	if o == nil || !o.sure || o.size != o.base.size {
		return 0, "", false
	}
	return o.base.addr + (v - o.addr), o.name, true
}

// byName maps v by the symbol that covers it. An unmapped Binding without
// reason means that no symbol does.
func (m *dataMap) byName(v image.Addr, lo, hi *point) Binding {
	o := m.objects.covering(v)
	if o == nil {
		return Binding{}
	}
	if o.base == nil {
		if !m.objects.complete {
			return Binding{}
		}
		if m.objects.stems[names.Stem(o.name)] {
			return unmapped("static variables named %s came or went", names.Stem(o.name))
		}
		return Binding{How: NewVariable, Why: "only the fixed image has " + o.name}
	}
	if o.base.size != o.size {
		b := unmapped("%s has %d bytes instead of %d", o.name, uint64(o.size), uint64(o.base.size))
		b.Grew = true
		return b
	}
	if v > o.addr && !m.steady(v, o) {
		return unmapped("%#x in %s could be meant for what lies behind it, which moved differently", uint64(v), o.name)
	}
	return Binding{Base: o.base.addr + (v - o.addr), How: Named, Why: "symbol " + o.name}
}

// steady: compilers fold a constant index into an address (table-97 for
// table[c-'a']), so an address inside one variable may be meant for one behind
// it. That does not matter where all of them moved alike.
func (m *dataMap) steady(v image.Addr, o *object) bool {
	const reach = 1024
	k := sort.Search(len(m.objects.fixed), func(i int) bool { return m.objects.fixed[i].addr > v })
	for ; k < len(m.objects.fixed) && m.objects.fixed[k].addr < v+reach; k++ {
		q := m.objects.fixed[k]
		if q.base == nil || q.addr-q.base.addr != o.addr-o.base.addr {
			return false
		}
	}
	return true
}

// NewRun is the run of new variables around the new variable at a: nothing in
// it has a counterpart, so it can be placed anew as a whole.
func (d *Diff) NewRun(a image.Addr) (lo, hi image.Addr) {
	m := &d.data
	if o := m.objects.covering(a); o != nil {
		return o.addr, o.addr + o.size
	}
	s := d.Fixed.SectionAt(a)
	k := sort.Search(len(m.points), func(i int) bool { return m.points[i].fixed > a })
	hi = s.Addr + s.Size
	for ; k < len(m.points) && m.points[k].fixed < hi; k++ {
		if p := &m.points[k]; !p.soft { // reliable or not, it is no new variable
			hi = p.fixed
		}
	}
	lo = a
	c := d.Fixed
	at, _ := slices.BinarySearch(c.starts, a)
	for _, x := range c.starts[at:] {
		if x >= hi || x > a && d.Map(x).OK() {
			hi = min(hi, x)
			break
		}
	}
	for i := at; i > 0; i-- {
		x := c.starts[i-1]
		if x < s.Addr || d.Map(x).How != NewVariable {
			break
		}
		lo = x
	}
	return lo, hi
}

// TableAt is the extent of the table of pointers at a: its symbol's, or
// that of ObjectEnd.
func (d *Diff) TableAt(a image.Addr) (lo, hi image.Addr) {
	if o := d.data.objects.covering(a); o != nil && o.read {
		return o.addr, o.addr + o.size
	}
	return a, d.Fixed.ObjectEnd(a)
}

// SameTLSNames says whether the thread-local variables that both images name
// are at the same offsets, with the same initial values.
func (d *Diff) SameTLSNames() bool {
	if string(d.Base.TLSInit) != string(d.Fixed.TLSInit) {
		return false
	}
	type at struct {
		addr image.Addr
		size uint64
	}
	of := func(m *image.Image) map[string][]at {
		out := map[string][]at{}
		for _, s := range m.Symbols {
			if s.Type == elf.STT_TLS {
				out[s.Name] = append(out[s.Name], at{s.Addr, s.Size})
			}
		}
		return out
	}
	x := of(d.Base.Image)
	for name, places := range of(d.Fixed.Image) {
		if old, ok := x[name]; ok && !slices.Equal(old, places) {
			return false
		}
	}
	return true
}

// Named bounds the variable or constant of the fixed image that holds a, if its
// symbol tells.
func (d *Diff) Named(a image.Addr) (lo, hi image.Addr, ok bool) {
	o := d.data.objects.covering(a)
	if o == nil {
		return 0, 0, false
	}
	return o.addr, o.addr + o.size, true
}

// NextObject is the first address from a on where anything is known to start in
// its section, or the section's end.
func (d *Diff) NextObject(a image.Addr) image.Addr {
	if a == 0 {
		return 0
	}
	return d.Fixed.next(d.Fixed.starts, a-1)
}
