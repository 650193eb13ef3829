package build

import (
	"slices"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// The loader resolves names in the libraries that the program's and their DT_NEEDED
// list, in that order, when the process starts. A process goes on with those it
// has, whatever the fixed image lists.

// libraries judges what of it differs.
func (j *judge) libraries() {
	base, fixed := j.d.Base.Image, j.d.Fixed.Image
	refuse := func(format string, args ...any) { j.r.add(librariesChanged, "", format, args...) }
	needed := slices.Clone(fixed.Needed)
	var renamed []string
	for i, n := range needed {
		if k := slices.IndexFunc(base.Needed, func(o string) bool { return j.d.SameButVersion(o, n) }); k >= 0 && !slices.Contains(base.Needed, n) {
			needed[i], renamed = base.Needed[k], append(renamed, n)
		}
	}
	carried := len(j.c.list) > 0 // else there is nothing to accept
	if carried && len(renamed) > 0 {
		j.r.add(goesWith, "", "it is linked with %s, which are libraries of the same source in their new versions", strings.Join(renamed, ", "))
	}
	var added []string
	for _, n := range needed {
		if !slices.Contains(base.Needed, n) {
			added = append(added, n)
		}
	}
	gone := slices.DeleteFunc(slices.Clone(base.Needed), func(n string) bool { return slices.Contains(needed, n) })
	kept := slices.DeleteFunc(slices.Clone(needed), func(n string) bool { return slices.Contains(added, n) })
	common := slices.DeleteFunc(slices.Clone(base.Needed), func(n string) bool { return slices.Contains(gone, n) })
	switch {
	case len(gone) > 0 && len(added) > 0:
		refuse("it is linked with %s instead of %s", strings.Join(added, ", "), strings.Join(gone, ", "))
	case !slices.Equal(kept, common):
		refuse("it lists its libraries in another order (%s instead of %s), so that symbols may come from others", strings.Join(fixed.Needed, ", "), strings.Join(base.Needed, ", "))
	case !carried:
	case len(gone) > 0 && len(j.asksMore()) > 0: // else all symbols are those that the process has found
		j.r.add(libraryList, "", "it is not linked with %s any more; a running process has it loaded, and finds symbols there", strings.Join(gone, ", "))
	case len(added) > 0 && slices.ContainsFunc(j.asksMore(), func(i image.Import) bool { return i.Version == "" }): // a version names its library
		refuse("it is linked with %s, too, and what is carried asks for symbols that it did not ask for before", strings.Join(added, ", "))
	case len(added) > 0:
		j.r.add(libraryList, "", "it is linked with %s, too, which a running process has not loaded", strings.Join(added, ", "))
	}
	if !slices.Equal(base.SearchPaths, fixed.SearchPaths) {
		refuse("its libraries are looked for in %q instead of %q", strings.Join(fixed.SearchPaths, ":"), strings.Join(base.SearchPaths, ":"))
	}
	if !slices.Equal(base.Filters, fixed.Filters) || base.Symbolic != fixed.Symbolic {
		refuse("the loader takes its symbols from elsewhere (DT_FILTER, DT_AUXILIARY or DT_SYMBOLIC)")
	}
}

// asksMore are the symbols of libraries that something carried needs and the base
// image does not ask for.
func (j *judge) asksMore() (more []image.Import) {
	for i := range j.e.imports {
		_, slot := j.e.baseGOT(i)
		if _, own := j.d.Base.Exported(image.Import{Name: i.Name, Version: i.Version}); !slot && !own && !slices.ContainsFunc(j.d.Base.Relocs, func(r image.Reloc) bool {
			return diff.SameImport(image.Import{Name: r.Sym, Version: r.Version}, i)
		}) {
			more = append(more, i)
		}
	}
	return more
}

// guards: what the fixed file has protected in processes that start from it, and those
// that run do without.
func (j *judge) guards() {
	base, fixed := j.d.Base.Guards, j.d.Fixed.Guards
	for _, g := range []struct {
		was, is bool
		what    string
	}{
		{base.Stack, fixed.Stack, "its stacks hold no code any more (PT_GNU_STACK)"},
		{base.RelRO, fixed.RelRO, "the loader makes constant what relocations fill (PT_GNU_RELRO)"},
		{base.Now, fixed.Now, "the loader finds all functions at once, so that their table can be made constant (DF_BIND_NOW)"},
		{base.Text, fixed.Text, "the loader need not write to its code any more (DT_TEXTREL)"},
	} {
		if g.is && !g.was {
			j.r.add(startOnly, "", "%s", g.what)
		}
	}
}
