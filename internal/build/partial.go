package build

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// A package may hold images of which one cannot be patched (a plugin with
// another struct) and others that can. A process that does not use the one can
// have the others: a partial hotpatch says what it leaves out, and a process
// that maps such an image is refused.
//
// The images that are patched must be able to do without those left out: what
// is linked to one, or imports what one defines, would call old code that
// knows another contract. Such an image is left out, too.

// linkage is what ties an image to others.
type linkage struct {
	library bool
	soname  string
	needed  []string
	imports []string        // by name
	exports map[string]bool // of either version, but for copies of a library's variables
}

func linkageOf(base, fixed *image.Image) linkage {
	l := linkage{library: fixed.Library, soname: base.Soname, needed: slices.Concat(base.Needed, fixed.Needed), exports: map[string]bool{}}
	for _, m := range []*image.Image{base, fixed} {
		copies := map[string]bool{}
		for i := range m.Relocs {
			r := &m.Relocs[i]
			switch {
			case r.Sym == "":
			case r.Type == elf.R_X86_64_COPY:
				copies[r.Sym] = true
			case r.SymAddr == 0:
				l.imports = append(l.imports, r.Sym)
			}
		}
		for i := range m.Symbols {
			if s := &m.Symbols[i]; s.Dynamic && !s.Local && !copies[s.Name] {
				l.exports[s.Name] = true
			}
		}
	}
	slices.Sort(l.imports)
	l.imports = slices.Compact(l.imports)
	return l
}

// needs says whether the image of r is linked to that of o; how tells by what.
func (r *result) needs(o *result) (how string, yes bool) {
	for _, n := range r.links.needed {
		if n == o.links.soname || o.links.soname == "" && n == path.Base(o.report.Path) {
			return "is linked to it", true
		}
	}
	for _, s := range r.links.imports {
		if o.links.exports[s] {
			return "imports " + s + " from it", true
		}
	}
	return "", false
}

func (r *result) refused() bool {
	return r.differs && slices.ContainsFunc(r.reasons, func(x patch.Reason) bool { return !reviewable(x.Code) })
}

// leftOut are the images that a hotpatch of the others would leave out: nil
// when none is refused, when nothing would remain, or when a process that uses
// a refused image could not be told.
func leftOut(results []*result) []patch.LeftOut {
	out := map[*result]bool{}
	for _, r := range results {
		if !r.refused() {
			continue
		}
		if r.report.BuildIDBase == "" && !r.alien {
			return nil
		}
		out[r] = true
	}
	if len(out) == 0 {
		return nil
	}
	for again := true; again; {
		again = false
		for _, r := range results {
			if r.object == nil || out[r] {
				continue
			}
			for _, o := range results {
				if _, yes := r.needs(o); out[o] && yes {
					out[r], again = true, true
					break
				}
			}
		}
	}
	var list []patch.LeftOut
	remain := false
	for _, r := range results {
		remain = remain || r.object != nil && !out[r]
		if out[r] {
			list = append(list, patch.LeftOut{Path: r.report.Path, BuildIDBase: r.report.BuildIDBase, BuildIDFixed: r.report.BuildIDFixed})
		}
	}
	if !remain {
		return nil
	}
	return list
}

// without makes of the results that are left out reasons for a review.
func without(results []*result, left []patch.LeftOut) []*result {
	isLeft := func(r *result) bool {
		return slices.ContainsFunc(left, func(l patch.LeftOut) bool { return l.Path == r.report.Path })
	}
	out := make([]*result, len(results))
	for i, r := range results {
		out[i] = r
		if !isLeft(r) {
			continue
		}
		why := &reasons{image: r.report.Path}
		why.add(imageLeftOut, "", "it is not patched, and a process that uses it is refused: %s", whyLeftOut(r, results, isLeft))
		out[i] = &result{report: r.report, reasons: why.list, differs: true}
	}
	return out
}

// whyLeftOut is the first refusal, or which image left out this one needs.
func whyLeftOut(r *result, results []*result, isLeft func(*result) bool) string {
	list := bounded(r.reasons)
	first := slices.IndexFunc(list, func(x patch.Reason) bool { return x.Code == layoutChanged }) // says most to a person
	if first < 0 {
		first = slices.IndexFunc(list, func(x patch.Reason) bool { return !reviewable(x.Code) })
	}
	if first >= 0 {
		x := list[first]
		where := ""
		if x.Function != "" {
			where = x.Function + ": "
		}
		return fmt.Sprintf("%s (%s%s)", x.Code, where, x.Detail)
	}
	for _, o := range results {
		if !isLeft(o) || o == r {
			continue
		}
		if how, yes := r.needs(o); yes {
			return fmt.Sprintf("%s is left out, and this one %s", o.report.Path, how)
		}
	}
	return "it needs another that is left out"
}
