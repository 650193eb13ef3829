package catalog

import (
	"slices"
	"time"
)

// index is a catalogue in the order in which machines ask it: one is made for
// an assessment, or for a preview over all of its machines.
type index struct {
	c      *Catalog
	of     map[ReleaseID]map[string][]*Artifact // release → package → artifacts
	pinned map[string]bool                      // what baselines have
}

func (c *Catalog) index() *index {
	x := &index{c: c, of: make(map[ReleaseID]map[string][]*Artifact, len(c.Releases)), pinned: map[string]bool{}}
	for i := range c.Releases {
		r := &c.Releases[i]
		by := make(map[string][]*Artifact, len(r.Artifacts))
		for k := range r.Artifacts {
			a := &r.Artifacts[k]
			by[a.Package] = append(by[a.Package], a)
			if r.Kind == Baseline {
				x.pinned[a.Package] = true
			}
		}
		x.of[r.ID] = by
	}
	return x
}

// pinnedBy says which packages hotpatches are built against: those that the
// machine says, or else those of the baselines.
func (x *index) pinnedBy(inv *Inventory) func(string) bool {
	if len(inv.Pinned) > 0 {
		return func(name string) bool { return slices.Contains(inv.Pinned, name) }
	}
	return func(name string) bool { return x.pinned[name] }
}

// view is one machine as a catalogue sees it: the packages of the host itself
// (not of containers), without those that the policy or a hold leaves alone.
// What is left alone does not decide about the track; its exposure is shown.
type view struct {
	*index
	inv      *Inventory
	policy   *Policy
	now      time.Time
	packages map[string]*Package
	names    []string // of packages, sorted
	own      map[ReleaseID][]*Artifact
}

func (x *index) view(inv *Inventory, p *Policy, now time.Time) *view {
	if p == nil {
		p = &Policy{}
	}
	v := &view{index: x, inv: inv, policy: p, now: now, own: map[ReleaseID][]*Artifact{},
		packages: make(map[string]*Package, len(inv.Packages))}
	for i := range inv.Packages {
		q := &inv.Packages[i]
		held := q.Held && p.Disk != MemoryOnly
		if q.Root == "" && !held && !slices.Contains(p.Exclude, q.Name) && !q.foreign(v.packages[q.Name]) {
			v.packages[q.Name] = q
		}
	}
	v.names = sortedNames(v.packages)
	return v
}

// foreign: another architecture of a package (libc6:i386 beside libc6:amd64)
// that has been seen. Hotpatches are for amd64; the others follow along.
func (p *Package) foreign(seen *Package) bool {
	return seen != nil && (seen.Arch == "amd64" || seen.Arch == "all") && p.Arch != seen.Arch
}

// mine are the artifacts of a release whose packages are installed here, by
// package.
func (v *view) mine(r *Release) []*Artifact {
	if list, ok := v.own[r.ID]; ok {
		return list
	}
	list := []*Artifact{}
	by := v.of[r.ID]
	for _, name := range v.names {
		list = append(list, by[name]...)
	}
	v.own[r.ID] = list
	return list
}

// relevant says whether the machine has a package of the release.
func (v *view) relevant(r *Release) bool { return len(v.mine(r)) > 0 }

// published lists what has ever reached machines, also what was paused or
// recalled since: a machine may have it.
func (v *view) published(want func(*Release) bool) []*Release {
	var out []*Release
	for i := range v.c.Releases {
		r := &v.c.Releases[i]
		if r.reached() && !r.Available.After(v.now) && want(r) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, compareReleases)
	return out
}

// track is a baseline and everything that keeps a machine on it, in order.
func (v *view) track(b *Release) []*Release {
	return append([]*Release{b}, v.published(func(r *Release) bool {
		return r.Baseline == b.ID && (r.Kind == Hotpatch || r.Kind == Companion)
	})...)
}
