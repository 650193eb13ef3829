// Package catalog answers what a machine's software is, may become, and must
// not: which releases there are and what each does to a machine on the track
// (release.go, calendar.go), where a machine stands (inventory.go, track.go),
// what it is offered and what not, and why (assess.go), what approving a
// release would do to which machines (preview.go, override.go), and which
// restarts are ahead (forecast.go).
//
// It is pure: it is told the time, reads nothing and changes nothing. Server
// and agent call the same functions on their own data, so that each refuses by
// itself what would eject a machine.
//
// Where a machine stands is measured, on disk and in memory, by build-id. A
// version is text for people and the order of packages; no decision about what
// runs is taken from it.
//
// docs/MODEL.md has the words, the states and the ten invariants; the test
// TestInvariantNN… of each stands in invariants_test.go.
package catalog

import (
	"fmt"
	"slices"
	"time"
)

// Format is the number of the JSON encodings of this package.
const Format = 1

// Catalog is everything that was published for one channel. It is outside
// data: Decode it, and what Decode returns has been checked.
type Catalog struct {
	Format    int        `json:"format"`  // Format
	Channel   string     `json:"channel"` // "bookworm-stable"
	Issued    time.Time  `json:"issued"`
	Expires   time.Time  `json:"expires,omitzero"` // afterwards nothing is offered any more; zero: never
	Releases  []Release  `json:"releases"`         // by Available, then ID
	Calendar  Calendar   `json:"calendar"`
	Overrides []Override `json:"overrides,omitempty"`
}

// Stale says whether the catalogue's word has run out at now.
func (c *Catalog) Stale(now time.Time) bool { return !c.Expires.IsZero() && !now.Before(c.Expires) }

// Release finds a release by its id, nil when there is none.
func (c *Catalog) Release(id ReleaseID) *Release {
	for i := range c.Releases {
		if c.Releases[i].ID == id {
			return &c.Releases[i]
		}
	}
	return nil
}

// Baselines are those available at now, the newest last.
func (c *Catalog) Baselines(now time.Time) []*Release {
	return c.list(now, func(r *Release) bool { return r.Kind == Baseline })
}

// On lists the releases of a kind on top of a baseline that are available at
// now, the newest last.
func (c *Catalog) On(baseline ReleaseID, kind Kind, now time.Time) []*Release {
	return c.list(now, func(r *Release) bool { return r.Kind == kind && r.Baseline == baseline })
}

func (c *Catalog) list(now time.Time, want func(*Release) bool) []*Release {
	var out []*Release
	for i := range c.Releases {
		if r := &c.Releases[i]; want(r) && r.Offerable(now) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, compareReleases)
	return out
}

// SupersededBy is the newest release available at now that makes r
// unnecessary, nil when there is none. Hotpatches are cumulative on their
// baseline, baselines over everything older; Replaces names the others.
func (c *Catalog) SupersededBy(r *Release, now time.Time) *Release {
	var best *Release
	for _, s := range c.list(now, func(s *Release) bool { return s.supersedes(r) }) {
		best = s
	}
	return best
}

// Sort puts everything in the order of the canonical encoding.
func (c *Catalog) Sort() {
	slices.SortStableFunc(c.Releases, func(a, b Release) int { return compareReleases(&a, &b) })
	c.Calendar.sort()
}

func unknownRelease(id ReleaseID) error { return fmt.Errorf("release %.80q: not in the catalogue", id) }
