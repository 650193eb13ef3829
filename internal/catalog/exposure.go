package catalog

import (
	"cmp"
	"slices"
	"time"
)

// ExposureStatus is what a CVE means on this machine.
type ExposureStatus string

const (
	NotAffected   ExposureStatus = "not-affected"    // the package is not here
	FixedOnDisk   ExposureStatus = "fixed-on-disk"   // and no process runs anything older
	FixedInMemory ExposureStatus = "fixed-in-memory" // every process that runs the package has the fix, some by a hotpatch
	Exposed       ExposureStatus = "exposed"         // some process has it not; or none runs it, and the next start would not have it
	Undetermined  ExposureStatus = "undetermined"    // a process could not be read: never called fixed
)

// Exposure is one CVE in one package on this machine, containers included.
type Exposure struct {
	CVE       string            `json:"cve"`
	Package   string            `json:"package"`
	Status    ExposureStatus    `json:"status"`
	Disk      bool              `json:"disk"`              // what is on disk, so the next start, has the fix, everywhere
	Version   string            `json:"version,omitempty"` // on disk
	Fixed     string            `json:"fixed,omitempty"`   // first version that has it
	Release   ReleaseID         `json:"release"`           // the first release with the fix
	Processes []ProcessExposure `json:"processes,omitempty"`
}

// ProcessExposure is one process in an Exposure. Status is fixed-on-disk when
// it runs a fixed file, fixed-in-memory when it is patched, exposed or
// undetermined.
type ProcessExposure struct {
	PID     int            `json:"pid"`
	Started uint64         `json:"started"`
	Root    string         `json:"root,omitempty"`
	Exe     string         `json:"exe,omitempty"`
	Unit    string         `json:"unit,omitempty"`
	Status  ExposureStatus `json:"status"`
	Bundle  Digest         `json:"bundle,omitempty"` // that patched it
	Why     string         `json:"why,omitempty"`
}

// hole is one CVE in one package and everything that closes it.
type hole struct {
	cve, pkg string
	release  *Release
	fixed    string          // first version that has the fix
	closes   []*Artifact     // those that have it
	builds   map[string]bool // build-ids that closes names, old and new
	paths    map[string]bool
}

// Exposure says, for every CVE that a published release fixes, what it means
// on this machine. Memory is judged by build-id and bundle alone. Disk is
// judged by build-id where the release names images; by version only where it
// names none.
func (c *Catalog) Exposure(inv *Inventory, now time.Time) []Exposure {
	return c.index().view(inv, nil, now).exposure()
}

func (v *view) exposure() []Exposure {
	f := v.inv.find()
	out := []Exposure{}
	for _, h := range v.holes() {
		out = append(out, h.on(f))
	}
	return out
}

// found is an inventory in the order in which holes ask it.
type found struct {
	inv      *Inventory
	packages map[string][]*Package // by name, in every root
	loaded   map[string][]int      // path or build-id → processes, by their place
	unknown  []int                 // processes that could not be read
}

func (inv *Inventory) find() *found {
	f := &found{inv: inv, packages: map[string][]*Package{}, loaded: map[string][]int{}}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		f.packages[p.Name] = append(f.packages[p.Name], p)
	}
	for i := range inv.Processes {
		p := &inv.Processes[i]
		if p.Unknown != "" {
			f.unknown = append(f.unknown, i)
		}
		for _, g := range p.Images {
			f.loaded[g.Path] = append(f.loaded[g.Path], i)
			f.loaded[g.BuildID] = append(f.loaded[g.BuildID], i)
		}
	}
	return f
}

// processes are those that a hole may concern, in order.
func (f *found) processes(h *hole) []int {
	list := slices.Clone(f.unknown)
	for path := range h.paths {
		list = append(list, f.loaded[path]...)
	}
	for id := range h.builds {
		list = append(list, f.loaded[id]...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// holes are sorted by CVE, then package.
func (v *view) holes() []*hole {
	type key struct{ cve, pkg string }
	all := map[key]*hole{}
	artifacts := map[string][]*Artifact{}
	releases := v.published(func(r *Release) bool { return r.Life.State != Recalled })
	for _, r := range releases {
		for i := range r.Artifacts {
			a := &r.Artifacts[i]
			artifacts[a.Package] = append(artifacts[a.Package], a)
			for _, cve := range a.CVEs {
				h := all[key{cve, a.Package}]
				if h == nil {
					h = &hole{cve: cve, pkg: a.Package, release: r, fixed: a.Fixed}
					all[key{cve, a.Package}] = h
				} else if newer(h.fixed, a.Fixed) {
					h.fixed = a.Fixed
				}
			}
		}
	}
	out := make([]*hole, 0, len(all))
	for _, h := range all {
		for _, a := range artifacts[h.pkg] {
			// Later versions of a package keep what earlier ones fixed.
			if slices.Contains(a.CVEs, h.cve) || newer(a.Fixed, h.fixed) {
				h.closes = append(h.closes, a)
			}
		}
		h.builds, h.paths = map[string]bool{}, map[string]bool{}
		for _, a := range h.closes {
			for _, g := range a.Images {
				h.builds[g.Base], h.builds[g.Fixed], h.paths[g.Path] = true, true, true
			}
		}
		delete(h.builds, "")
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *hole) int { return cmp.Or(cmp.Compare(a.cve, b.cve), cmp.Compare(a.pkg, b.pkg)) })
	return out
}

// on judges one machine.
func (h *hole) on(f *found) Exposure {
	e := Exposure{CVE: h.cve, Package: h.pkg, Fixed: h.fixed, Release: h.release.ID, Status: NotAffected, Disk: true}
	roots := map[string]*Package{}
	for _, p := range f.packages[h.pkg] {
		if !p.foreign(roots[p.Root]) {
			roots[p.Root] = p
		}
		e.Version = cmp.Or(e.Version, p.Version)
		e.Disk = e.Disk && h.closedOnDisk(p)
	}
	var exposed, patched, unknown bool
	for _, i := range f.processes(h) {
		p := &f.inv.Processes[i]
		q := roots[p.Root]
		x := h.in(p, q)
		switch {
		case x.Status == "" || q == nil && x.Status == Undetermined && len(roots) == 0:
			continue
		case q == nil:
			// Nobody knows that root's packages; the file is what it is.
			e.Disk = e.Disk && x.Status == FixedOnDisk
		}
		switch x.Status {
		case Exposed:
			exposed = true
		case FixedInMemory:
			patched = true
		case Undetermined:
			unknown = true
		}
		e.Processes = append(e.Processes, x)
		e.Disk = e.Disk && h.nextStart(p, q)
	}
	if len(roots) == 0 && len(e.Processes) == 0 {
		return e
	}
	switch {
	case exposed:
		e.Status = Exposed
	case unknown:
		e.Status = Undetermined
	case patched:
		e.Status = FixedInMemory
	case e.Disk:
		e.Status = FixedOnDisk
	default:
		e.Status = Exposed // by the next start
	}
	return e
}

// closedOnDisk judges by build-ids where there are some of this version.
func (h *hole) closedOnDisk(p *Package) bool {
	known := false
	for _, a := range h.closes {
		if a.Fixed != p.Version {
			continue
		}
		if !a.contradicts(p) {
			return true
		}
		known = true
	}
	return !known && !newer(h.fixed, p.Version)
}

// nextStart says whether the process would load the fix if it started now:
// what lies at its paths, which need not be what the package put there.
func (h *hole) nextStart(p *Process, q *Package) bool {
	for _, g := range p.Images {
		if g.Next == "" || g.Next == g.BuildID {
			continue // nothing known beyond the package; or judged in memory
		}
		if s, _ := h.image(&Process{}, Loaded{Path: g.Path, BuildID: g.Next}, q); s == Exposed {
			return false
		}
	}
	return true
}

// in judges one process, worst image first; Status "" when it runs nothing of
// the package.
func (h *hole) in(p *Process, q *Package) ProcessExposure {
	x := ProcessExposure{PID: p.PID, Started: p.Started, Root: p.Root, Exe: p.Exe, Unit: p.Unit}
	if p.Unknown != "" {
		x.Status, x.Why = Undetermined, p.Unknown
		return x
	}
	for _, g := range p.Images {
		status, bundle := h.image(p, g, q)
		switch {
		case status == "":
		case status == Exposed:
			x.Status, x.Bundle, x.Why = Exposed, "", g.Path+" in memory is "+g.BuildID
			return x
		case x.Status == "" || status == FixedInMemory:
			x.Status, x.Bundle = status, bundle
		}
	}
	return x
}

// image judges one image in a process; "" when it is not of the package. q is
// nil where nobody knows which packages there are: then the build-id tells,
// wherever the file lies.
func (h *hole) image(p *Process, g Loaded, q *Package) (ExposureStatus, Digest) {
	mine := false
	var bundle Digest
	for _, a := range h.closes {
		for _, c := range a.Images {
			switch {
			case c.Path != g.Path && c.Base != g.BuildID && c.Fixed != g.BuildID:
				continue
			case c.Fixed == g.BuildID:
				return FixedOnDisk, ""
			case c.Base == g.BuildID && a.Bundle != "" && slices.Contains(p.Patches, a.Bundle):
				bundle = a.Bundle
			case c.Base == g.BuildID && c.Same:
				return FixedOnDisk, ""
			}
			mine = true
		}
	}
	if !mine {
		return "", ""
	}
	if bundle != "" {
		return FixedInMemory, bundle
	}
	// The very file that is on disk, and the disk has the fix: a later build
	// that no release of the catalogue lists.
	if q != nil && slices.ContainsFunc(q.Images, func(d Image) bool { return d.Path == g.Path && d.BuildID == g.BuildID }) && h.closedOnDisk(q) {
		return FixedOnDisk, ""
	}
	return Exposed, ""
}
