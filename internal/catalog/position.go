package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"hotpatch/internal/deb"
)

// Position measures which baseline, hotpatch and companions a machine matches.
// The newest baseline wins to which everything on disk belongs; when there is
// none, the one from which the fewest packages stray.
func (c *Catalog) Position(inv *Inventory, p *Policy, now time.Time) Position {
	return c.index().view(inv, p, now).position()
}

func (v *view) position() Position {
	var best Position
	var at *Release
	for _, b := range slices.Backward(v.published(func(r *Release) bool { return r.Kind == Baseline })) {
		strays := v.strays(v.track(b))
		if at == nil || len(strays) < len(best.Strays) {
			best, at = Position{Baseline: b.ID, Strays: strays}, b
		}
		if len(strays) == 0 {
			break
		}
	}
	if at != nil {
		v.climb(&best, v.track(at))
	}
	return best
}

// strays are the managed packages that no release of the track has as they are.
func (v *view) strays(track []*Release) []Stray {
	pinned := v.pinnedBy(v.inv)
	var out []Stray
	for _, name := range v.names {
		q, managed, matched := v.packages[name], pinned(name), false
		for _, r := range track {
			for _, a := range v.of[r.ID][name] {
				managed, matched = true, matched || a.matches(q)
			}
		}
		if managed && !matched {
			out = append(out, v.stray(q))
		}
	}
	return out
}

// stray says where a package that does not belong comes from. A release that
// ejects explains more than another baseline does.
func (v *view) stray(q *Package) Stray {
	s := Stray{Package: q.Name, Version: q.Version, Why: "no release of the track has it like this"}
	for _, r := range v.published(func(*Release) bool { return true }) {
		for _, a := range v.of[r.ID][q.Name] {
			if !a.matches(q) {
				continue
			}
			if r.Kind != Cold && r.Kind != Outside && s.Release != "" {
				continue
			}
			s.Release, s.Why = r.ID, fmt.Sprintf("it is that of the %s release %s", r.Kind, r.label())
		}
	}
	return s
}

// label is how people know the release.
func (r *Release) label() string {
	if r.Article != "" {
		return fmt.Sprintf("%s (%s)", r.ID, r.Article)
	}
	return string(r.ID)
}

// matches says whether a package on disk is this artifact: version, and every
// build-id and .deb digest that both know.
func (a *Artifact) matches(q *Package) bool {
	if a.Package != q.Name || a.Fixed != q.Version || a.Arch != "" && q.Arch != "" && a.Arch != q.Arch ||
		a.Deb != "" && q.Deb != "" && a.Deb != q.Deb {
		return false
	}
	return !a.contradicts(q)
}

// contradicts: some image on disk is not the one the artifact puts there.
func (a *Artifact) contradicts(q *Package) bool {
	for _, g := range a.Images {
		for _, d := range q.Images {
			if d.Path == g.Path && d.BuildID != g.Fixed {
				return true
			}
		}
	}
	return false
}

// climb finds how far up the track the machine is.
func (v *view) climb(p *Position, track []*Release) {
	p.Stale = v.stale(track)
	for i, r := range track[1:] {
		if !v.relevant(r) || !v.inPlace(r, track[1+i:]) {
			continue
		}
		if r.Kind == Hotpatch {
			p.Hotpatch, p.Companions = r.ID, nil // cumulative
		} else {
			p.Companions = append(p.Companions, r.ID)
		}
	}
}

// inPlace says whether what a release brings is there: on disk (but for
// memory-only machines) and in every process. later are the releases that
// carry it on, r first.
func (v *view) inPlace(r *Release, later []*Release) bool {
	if v.policy.Disk == MemoryOnly && (r.Kind == Hotpatch || r.Kind == Companion) {
		return len(v.behind(r, later)) == 0
	}
	for _, a := range v.mine(r) {
		q := v.packages[a.Package]
		if !a.matches(q) && !newer(q.Version, a.Fixed) {
			return false
		}
	}
	return len(v.behind(r, later)) == 0
}

// newer: a > b, as dpkg orders them.
func newer(a, b string) bool {
	n, err := deb.Compare(a, b)
	return err == nil && n > 0
}

// behind lists the processes whose memory lacks what r brings, and what would
// bring it. A process that runs r's or a later one's file, or is patched with
// its bundle, lacks nothing.
func (v *view) behind(r *Release, later []*Release) []Stale {
	concerned := map[string]string{} // path → package
	for _, a := range v.mine(r) {
		for _, g := range a.Images {
			concerned[g.Path] = a.Package
		}
	}
	var out []Stale
	for i := range v.inv.Processes {
		p := &v.inv.Processes[i]
		if p.Root != "" {
			continue // containers have their own packages: exposure, not track
		}
		for _, g := range p.Images {
			name, ok := concerned[g.Path]
			if !ok {
				continue
			}
			if ok, _ := v.has(p, g, name, later); ok {
				continue
			}
			_, bundle := v.has(p, g, name, []*Release{r})
			out = append(out, Stale{PID: p.PID, Started: p.Started, Unit: p.unit(), Path: g.Path, Package: name,
				BuildID: g.BuildID, Bundle: bundle, Release: r.ID})
		}
	}
	return out
}

// has says whether a process has, at image g of a package, what one of the
// releases brings; if not, which bundle would bring it.
func (v *view) has(p *Process, g Loaded, name string, releases []*Release) (ok bool, bundle Digest) {
	for _, r := range releases {
		for _, a := range v.of[r.ID][name] {
			for _, c := range a.Images {
				switch {
				case c.Path != g.Path:
				case c.Fixed == g.BuildID:
					return true, ""
				case c.Base != g.BuildID:
				case c.Same, a.Bundle != "" && slices.Contains(p.Patches, a.Bundle):
					return true, ""
				case a.Bundle != "":
					bundle = a.Bundle
				}
			}
		}
	}
	return false, bundle
}

// stale lists the processes whose memory is behind what is on disk.
func (v *view) stale(track []*Release) []Stale {
	var out []Stale
	for i, r := range slices.Backward(track) {
		onDisk := slices.ContainsFunc(v.mine(r), func(a *Artifact) bool { return a.matches(v.packages[a.Package]) })
		if !onDisk {
			continue
		}
		for _, s := range v.behind(r, track[i:]) {
			if !v.matches(r, v.packages[s.Package]) {
				continue // this package is on disk as another release has it
			}
			if !slices.ContainsFunc(out, func(o Stale) bool { return o.PID == s.PID && o.Path == s.Path }) {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b Stale) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Path, b.Path)) })
	return out
}

func (v *view) matches(r *Release, q *Package) bool {
	return slices.ContainsFunc(v.of[r.ID][q.Name], func(a *Artifact) bool { return a.matches(q) })
}

// unit names what a restart of the process would restart.
func (p *Process) unit() string {
	if p.Unit != "" {
		return p.Unit
	}
	return fmt.Sprintf("pid %d (%s)", p.PID, cmp.Or(p.Exe, "?"))
}

// restarts are the units that a release would restart on this machine: those
// whose memory it changes without a bundle, and those its predicate names and
// that run here.
func (v *view) restarts(r *Release) []string {
	if !v.relevant(r) {
		return nil
	}
	set := map[string]bool{}
	for _, s := range v.behind(r, []*Release{r}) {
		if s.Bundle == "" {
			set[s.Unit] = true
		}
	}
	for _, u := range r.Restarts {
		if u == HostUnit || slices.ContainsFunc(v.inv.Processes, func(p Process) bool { return p.Unit == u }) {
			set[u] = true
		}
	}
	return sortedKeys(set)
}
