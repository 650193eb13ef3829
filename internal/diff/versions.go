package diff

import (
	"cmp"
	"debug/elf"
	"slices"
	"strings"

	"hotpatch/internal/image"
	"hotpatch/internal/names"
)

// A library may define one name several times, in versions (LSB 5.0 §10.7):
// check@V1 for those that were linked against an old release, check@@V2 for
// others. They are functions of their own, whatever the name. So names mean the
// same only with their versions, where both are known.

// SameImport says whether p in the base image is what q is in the fixed one. One
// that was linked without the library at hand (crt files alone ask of it, weakly)
// knows no version.
func SameImport(p, q image.Import) bool {
	return p.Name == q.Name && (p.Version == q.Version || p.Version == "" || q.Version == "")
}

func sameSymbol(p, q *image.Reloc) bool {
	return SameImport(image.Import{Name: p.Sym, Version: p.Version}, image.Import{Name: q.Sym, Version: q.Version})
}

// Exported is what the image itself defines as i: without a version, the default
// one.
func (c *Code) Exported(i image.Import) (image.Symbol, bool) {
	s, ok := c.Dynamic(i.Name)
	if !ok || i.Version == "" || s.Version == "" || s.Version == i.Version {
		return s, ok
	}
	for _, s := range c.Symbols {
		if s.Dynamic && !s.Local && s.Name == i.Name && s.Version == i.Version {
			return s, true
		}
	}
	return image.Symbol{}, false
}

// ComesFrom says in words that the name i leads to another image in one of the two
// programs and to this image in the other; "" where it does not. The loader has
// decided that when the program started.
func (d *Diff) ComesFrom(i image.Import) string {
	_, was := d.Base.Exported(i)
	_, is := d.Fixed.Exported(i)
	switch {
	case was == is || d.Base.copies(i.Name) || d.Fixed.copies(i.Name):
		return ""
	case is && d.Base.imported[i.Name]:
		return "which the fixed image defines itself; before it was of another image, or of none"
	case was && d.Fixed.imported[i.Name]:
		return "which the image no longer defines; before it was its own"
	}
	return ""
}

// copies: the program has its own copy of a library's variable of this name, and
// exports it.
func (c *Code) copies(name string) bool {
	s, ok := c.Dynamic(name)
	return ok && copied(c, s.Addr)
}

// nameImports notes which names the loader looks up in other images.
func (c *Code) nameImports() {
	c.imported = map[string]bool{}
	for i := range c.Relocs {
		if r := &c.Relocs[i]; r.Sym != "" && r.SymAddr == 0 {
			c.imported[r.Sym] = true
		}
	}
}

// nameVersions notes the versions under which functions are known.
func (c *Code) nameVersions() {
	for i := range c.Symbols {
		s := &c.Symbols[i]
		if s.Version == "" || s.Type == elf.STT_TLS {
			continue
		}
		f := c.Entry(s.Addr)
		if f == nil || s.Type != elf.STT_FUNC && s.Type != elf.STT_GNU_IFUNC && s.Type != elf.STT_NOTYPE {
			continue
		}
		if v := (image.Import{Name: s.Name, Version: s.Version}); !slices.Contains(f.versions, v) {
			f.versions = append(f.versions, v)
		}
	}
	for _, f := range c.Funcs {
		slices.SortFunc(f.versions, func(a, b image.Import) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
		})
	}
}

// split is a name of f and its version, "" when it has none.
func (f *Func) split(name string) (string, string) {
	if bare, version, ok := strings.Cut(name, "@"); ok {
		return bare, version
	}
	for _, v := range f.versions {
		if v.Name == name && !slices.Contains(f.Names, name+"@"+v.Version) { // the default version
			return name, v.Version
		}
	}
	return name, ""
}

// sameName says whether x of a and y of b may be names of one function.
func sameName(a *Func, x string, b *Func, y string) bool {
	if len(a.versions) == 0 || len(b.versions) == 0 {
		return names.Stem(x) == names.Stem(y)
	}
	x, v := a.split(x)
	y, w := b.split(y)
	return names.Stem(x) == names.Stem(y) && (v == w || v == "" || w == "")
}

// pairVersions pairs by names with versions, which are unique.
func (d *Diff) pairVersions() {
	base := map[image.Import]*Func{}
	for _, f := range d.Base.Funcs {
		for _, v := range f.versions {
			base[v] = f
		}
	}
	for _, f := range d.Fixed.Funcs {
		for _, v := range f.versions {
			if a := base[v]; a != nil {
				d.join(a, f, byName)
			}
		}
	}
}

// pairJoined pairs functions that became one, under the exported names of all: the
// base function that was another one is what it replaces, those that were equal may
// go on.
func (d *Diff) pairJoined() {
	for _, f := range d.Fixed.Funcs {
		if len(f.Names) < 2 || !f.described() || d.baseOf[f.Index] != nil {
			continue
		}
		var other []*Func
		equal := false
		for _, name := range f.Names {
			s, ok := d.Base.Dynamic(name)
			t, now := d.Fixed.Dynamic(name)
			if !ok || !now || t.Addr != f.Lo {
				continue
			}
			a := d.Base.Entry(s.Addr)
			equal = equal || a != nil && a.Hash == f.Hash
			if a != nil && a.Hash != f.Hash && !slices.Contains(other, a) {
				other = append(other, a)
			}
		}
		if equal && len(other) == 1 {
			d.join(other[0], f, byName)
		}
	}
}

// findResolvers marks the functions that the loader asks once for the address of
// another (STT_GNU_IFUNC).
func (c *Code) findResolvers() {
	mark := func(a image.Addr) {
		if f := c.Entry(a); f != nil {
			f.Resolver = true
		}
	}
	for i := range c.Symbols {
		if s := &c.Symbols[i]; s.Type == elf.STT_GNU_IFUNC {
			mark(s.Addr)
		}
	}
	for i := range c.Relocs {
		if r := &c.Relocs[i]; r.Type == elf.R_X86_64_IRELATIVE {
			mark(image.Addr(r.Add))
		}
	}
}

// Moved is a name under which others find a function of the base image, and
// another one of the fixed image.
type Moved struct {
	image.Import
	Base, Fixed image.Addr
	Why         string
}

// Moved finds the names of functions that both images export, by name and
// version, and that do not lead from a function to the one that takes its place.
// Whoever calls by such a name goes on with the base image's.
func (d *Diff) Moved() []Moved {
	versions := map[string][]*image.Symbol{}
	for i := range d.Fixed.Symbols {
		if s := &d.Fixed.Symbols[i]; s.Dynamic && !s.Local && s.Type != elf.STT_TLS {
			versions[s.Name] = append(versions[s.Name], s)
		}
	}
	var out []Moved
	for i := range d.Base.Symbols {
		s := &d.Base.Symbols[i]
		if !s.Dynamic || s.Local || s.Type == elf.STT_TLS || s.Type == elf.STT_OBJECT {
			continue
		}
		for _, t := range versions[s.Name] {
			if s.Version != "" && t.Version != "" && s.Version != t.Version {
				continue
			}
			if why := d.movedTo(s, t); why != "" {
				out = append(out, Moved{image.Import{Name: s.Name, Version: cmp.Or(s.Version, t.Version)}, s.Addr, t.Addr, why})
			}
		}
	}
	return out
}

// movedTo says how what is called by one name is another function than before,
// "" when it is not.
func (d *Diff) movedTo(s, t *image.Symbol) string {
	text := [2]bool{d.Base.ClassAt(s.Addr) == image.Text, d.Fixed.ClassAt(t.Addr) == image.Text}
	if !text[0] && !text[1] {
		return ""
	}
	ifunc := [2]bool{s.Type == elf.STT_GNU_IFUNC, t.Type == elf.STT_GNU_IFUNC}
	switch {
	case text[0] != text[1]:
		return "it is a function in one of them only"
	case ifunc[0] != ifunc[1]:
		return "it is chosen when the program starts (IFUNC) in one of them only"
	}
	a, b := d.Base.At(s.Addr), d.Fixed.At(t.Addr)
	switch {
	case a == nil && b == nil:
		return ""
	case a == nil || b == nil:
		return "no function is there in one of them"
	case a.Lo != s.Addr || b.Lo != t.Addr: // another way in
		if d.baseOf[b.Index] == a && s.Addr-a.Lo == t.Addr-b.Lo && (d.state[b.Index] == Same || d.state[b.Index] == Noise) {
			return ""
		}
		return "it leads into the middle of a function that differs"
	case d.baseOf[b.Index] == a:
		return ""
	}
	// It does no harm where what they call now is as good.
	if g := d.fixedOf[a.Index]; (g == nil || d.state[g.Index] != Changed) && d.alike(a, b) {
		return ""
	}
	if g := d.fixedOf[a.Index]; g != nil {
		return "the one of the running program is replaced by " + g.Name() + ", and known by that name, too"
	}
	return "the one of the running program has no counterpart"
}

// alike says whether a and b are the same though they are no pair.
func (d *Diff) alike(a, b *Func) bool {
	if !d.sameCode(a, b) {
		return false
	}
	owner := [2]*Func{a, b}
	for k := range b.Refs {
		if same, _ := d.sameRef(&a.Refs[k], &b.Refs[k], &owner); !same {
			return false
		}
	}
	same, _ := d.sameHandlers(a, b)
	return same
}
