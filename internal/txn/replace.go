package txn

import (
	"strings"

	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
)

// A hotpatch for a later version of a package is made from the same base
// image, so it holds everything that an earlier one holds: it is cumulative.
// It takes the earlier one's place in a single stop: shared entries lead to the
// new code, entries that only the earlier one has are set back.

// keeps says why hotpatch j must not be replaced by that of m; "" when it may.
func keeps(j *journal, m *patch.Manifest) string {
	name, version, ok := strings.Cut(j.Package, " ")
	if !ok || m.Package == "" || name != m.Package {
		return "which is of something else"
	}
	order, err := deb.Compare(version, m.FixedVersion)
	if err != nil || order >= 0 {
		return "which is not of an earlier version than " + m.FixedVersion
	}
	for _, r := range j.Regions {
		if r.State && !r.Void {
			return "which brought variables of its own, whose values would be lost"
		}
	}
	return ""
}

// retire collects what the replaced hotpatches have and this one has not.
func (t *target) retire(p *plan) error {
	mine := map[uint64]bool{}
	index := map[uint64]int{} // bias → region
	for i, pt := range p.parts {
		index[pt.module.Bias] = i
		for _, s := range pt.image.Sites {
			mine[pt.module.Bias+s.Base+s.Jump] = true
		}
	}
	for _, j := range p.replaced {
		for _, s := range j.Sites {
			if !s.redirects() || mine[s.Addr] {
				continue
			}
			i, ok := index[j.Regions[s.Region].Bias]
			if !ok {
				return refuse("hotpatch %s (%s) also patches %s, which this one does not; revert that one first", j.ID.Short(), j.Package, j.Regions[s.Region].Path)
			}
			p.restored = append(p.restored, site{
				Addr: s.Addr, Region: uint32(i), Orig: s.Orig, Old: s.New, New: s.Orig, Ranges: s.Ranges, Name: s.Name,
			})
		}
	}
	return nil
}

// hasVariables says whether the object's read-write part holds more than
// addresses of imports.
func hasVariables(o *patch.Object) bool {
	imports := map[uint64]bool{}
	for _, r := range o.Relocs {
		if r.Type == patch.Abs64 && r.Sym >= 0 && o.Symbols[r.Sym].Kind == patch.Import {
			imports[r.At] = true
		}
	}
	for _, c := range o.Chunks {
		if c.Addr < o.Hi {
			continue
		}
		for at := c.Addr; at < c.Addr+uint64(len(c.Data)); at += 8 {
			if !imports[at] {
				return true
			}
		}
	}
	return false
}
