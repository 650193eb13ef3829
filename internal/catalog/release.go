package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Kind is what sort of release it is.
type Kind string

// The kinds, and what each does to a machine on the track.
const (
	Baseline  Kind = "baseline"  // rebases: the latest cumulative update; needs a restart
	Hotpatch  Kind = "hotpatch"  // advances: no restart
	Companion Kind = "companion" // neutral: the fix of a cold release, on top of the baseline
	Cold      Kind = "cold"      // ejects: a fix that cannot be hotpatched
	Outside   Kind = "outside"   // not in the program: neutral, or ejects when it touches a pinned unit
)

// Effect is what a release does to a machine on the track.
type Effect string

const (
	Rebases  Effect = "rebases"
	Advances Effect = "advances"
	Neutral  Effect = "neutral"
	Ejects   Effect = "ejects"
)

// ReleaseID names a release: lower-case letters, digits, '.', '-', at most 80.
type ReleaseID string

// Digest is a lower-case hex SHA-256. A bundle's digest is its patch.ID.
type Digest string

// Release is one thing that can be published.
type Release struct {
	ID   ReleaseID `json:"id"`
	Kind Kind      `json:"kind"`
	// Unplanned marks a baseline that replaces its month's hotpatch, OutOfBand
	// a release on a day that the calendar did not foresee.
	Unplanned bool `json:"unplanned,omitempty"`
	OutOfBand bool `json:"out_of_band,omitempty"`
	// Baseline is what a hotpatch, companion or cold release goes on top of;
	// empty for baselines and outside releases.
	Baseline  ReleaseID `json:"baseline,omitempty"`
	Available time.Time `json:"available"`
	Deadline  time.Time `json:"deadline,omitzero"` // of a baseline: rebase until then; zero: none
	// Version and Article are text for people ("26100.6905", "KB5070881",
	// "DSA-5971-1"). Two releases may have the same.
	Version string `json:"version,omitempty"`
	Article string `json:"article,omitempty"`
	Title   string `json:"title,omitempty"`
	// Replaces names releases that this one makes unnecessary beyond what
	// being cumulative already says.
	Replaces []ReleaseID `json:"replaces,omitempty"`
	// Fixes names, on a companion or hotpatch, the cold release whose content
	// it has; Without is on a cold release that has none.
	Fixes     ReleaseID   `json:"fixes,omitempty"`
	Without   *Mitigation `json:"without,omitempty"`
	Restarts  []string    `json:"restarts,omitempty"` // predicate: units ("nginx.service", "host") that have to be restarted where they run
	Scope     Scope       `json:"scope,omitzero"`
	Life      Life        `json:"life"`
	Artifacts []Artifact  `json:"artifacts"` // by package, then base version
}

// Mitigation is the explicit "there is no companion" of a cold release.
type Mitigation struct {
	Text string `json:"text"` // what to do instead
	By   string `json:"by"`
}

// HostUnit in Restarts, and as the unit of the kernel and pid 1, is the whole
// machine: a reboot.
const HostUnit = "host"

// Artifact is one binary package of a release: what it becomes on disk and,
// with a bundle, what becomes of the processes that run the old file.
type Artifact struct {
	Package string   `json:"package"`          // binary package
	Source  string   `json:"source,omitempty"` // Debian source package
	Arch    string   `json:"arch,omitempty"`   // Debian's word: amd64, all
	Base    string   `json:"base,omitempty"`   // version it is made for; empty: any
	Fixed   string   `json:"fixed"`            // version on disk afterwards
	Deb     Digest   `json:"deb,omitempty"`    // of the .deb
	Size    int64    `json:"size,omitempty"`   // bytes of the .deb
	Bundle  Digest   `json:"bundle,omitempty"` // hotpatch bundle (patch.ID); empty: none, a process has to start anew
	Images  []Change `json:"images,omitempty"` // the ELF files in it, by path
	CVEs    []string `json:"cves,omitempty"`
}

// Change is one image of an artifact.
type Change struct {
	Path  string `json:"path"`           // absolute, on disk
	Base  string `json:"base,omitempty"` // build-id the bundle is made for; empty: the image is not patched
	Fixed string `json:"fixed"`          // build-id on disk afterwards
	Same  bool   `json:"same,omitempty"` // base and fixed run the same code: nothing to patch, nothing to restart
}

// Digest is the artifact's identity: everything it puts on disk and in memory.
// Equal versions with other content have other digests.
func (a *Artifact) Digest() Digest {
	parts := []string{"artifact", a.Package, a.Arch, a.Fixed, string(a.Deb), string(a.Bundle)}
	for _, g := range a.Images {
		parts = append(parts, g.Path, g.Base, g.Fixed)
	}
	return digestOf(parts...)
}

// Content is the digest of all that a release would bring: what an approval,
// an offer and a staged copy are bound to.
func (r *Release) Content() Digest {
	parts := []string{"release", string(r.ID), string(r.Kind), string(r.Baseline)}
	var list []string
	for i := range r.Artifacts {
		list = append(list, string(r.Artifacts[i].Digest()))
	}
	slices.Sort(list)
	return digestOf(append(parts, list...)...)
}

// Offerable says whether the release may reach machines at now: it is
// available, and a ring or everybody is its audience.
func (r *Release) Offerable(now time.Time) bool {
	return !r.Available.After(now) && (r.Life.State == InRing || r.Life.State == Complete)
}

// CVEs are those the release fixes, sorted.
func (r *Release) CVEs() []string {
	set := map[string]bool{}
	for i := range r.Artifacts {
		for _, c := range r.Artifacts[i].CVEs {
			set[c] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Effect is what a release does to a machine on the track. The inventory
// matters only for what is outside the program: it ejects where it touches a
// pinned package that the machine has.
func (c *Catalog) Effect(r *Release, inv *Inventory) Effect { return c.index().effect(r, inv) }

func (x *index) effect(r *Release, inv *Inventory) Effect {
	switch r.Kind {
	case Baseline:
		return Rebases
	case Hotpatch:
		return Advances
	case Companion:
		return Neutral
	case Outside:
		pinned := x.pinnedBy(inv)
		for i := range r.Artifacts {
			if pinned(r.Artifacts[i].Package) && inv.has(r.Artifacts[i].Package) {
				return Ejects
			}
		}
		return Neutral
	default: // Cold, and whatever may come: the worst is assumed
		return Ejects
	}
}

// supersedes says whether r makes o unnecessary.
func (r *Release) supersedes(o *Release) bool {
	if r.ID == o.ID || slices.Contains(o.Replaces, r.ID) {
		return false
	}
	if slices.Contains(r.Replaces, o.ID) || r.Fixes == o.ID && o.ID != "" {
		return true // also over an override: nobody is ejected for a fix that does not need it
	}
	later := r.Available.After(o.Available)
	switch {
	case r.Kind == Baseline:
		// Not over hotpatches: whoever waits for the window is still protected by them.
		return later && (o.Kind == Baseline || o.Kind == Cold)
	case r.Kind == Hotpatch:
		return later && r.Baseline == o.Baseline && (o.Kind == Hotpatch || o.Kind == Companion || o.Kind == Cold)
	}
	return false
}

func compareReleases(a, b *Release) int {
	return cmp.Or(a.Available.Compare(b.Available), cmp.Compare(a.ID, b.ID))
}

// Scope is the machines that a release is meant for. The zero Scope is
// everybody.
type Scope struct {
	Labels map[string]string `json:"labels,omitempty"` // all of them
	Hosts  []string          `json:"hosts,omitempty"`  // one of them; empty: any
	Except []string          `json:"except,omitempty"` // none of them
}

// IsZero: everybody.
func (s Scope) IsZero() bool { return len(s.Labels)+len(s.Hosts)+len(s.Except) == 0 }

// Includes says whether a machine is meant.
func (s Scope) Includes(inv *Inventory) bool {
	for k, v := range s.Labels {
		if got, ok := inv.Labels[k]; !ok || got != v {
			return false
		}
	}
	return (len(s.Hosts) == 0 || slices.Contains(s.Hosts, inv.Host)) && !slices.Contains(s.Except, inv.Host)
}
