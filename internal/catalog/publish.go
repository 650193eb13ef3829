package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Publishable says why a release may not be published; empty: it may.
// enrolled is how many enrolled machines are on the release's baseline
// (invariant 5).
func (c *Catalog) Publishable(id ReleaseID, enrolled int) []string {
	r := c.Release(id)
	if r == nil {
		return []string{unknownRelease(id).Error()}
	}
	why := []string{}
	no := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	switch {
	case r.published():
		no("it is published already")
	case r.Life.State != Approved:
		no("it is %s, not approved", r.Life.State)
	}
	if len(r.Artifacts) == 0 {
		no("it has no artifact")
	}
	switch r.Kind {
	case Hotpatch, Companion, Cold:
		if b := c.Release(r.Baseline); b == nil || b.Kind != Baseline || b.Life.State == Recalled {
			no("its baseline %q is not in the catalogue, or was recalled", r.Baseline)
		}
	case Baseline:
		if r.Unplanned && r.Deadline.IsZero() {
			no("an unplanned baseline needs a deadline")
		}
	}
	if r.Kind == Companion && r.Fixes == "" {
		no("a companion names the cold release whose fix it has")
	}
	if r.Kind == Cold && enrolled > 0 {
		if w := c.withoutAlternative(r); w != "" {
			no("%d enrolled machines are on %s, and %s", enrolled, r.Baseline, w)
		}
	}
	return why
}

// withoutAlternative: what a cold release lacks, "" when it lacks nothing.
func (c *Catalog) withoutAlternative(r *Release) string {
	if alt := c.Alternative(r); alt != nil {
		if alt.Baseline != r.Baseline {
			return fmt.Sprintf("its companion %s goes on top of %s", alt.ID, alt.Baseline)
		}
		return ""
	}
	if w := r.Without; w != nil && strings.TrimSpace(w.Text) != "" && strings.TrimSpace(w.By) != "" {
		return ""
	}
	return `no companion or hotpatch has its fix; link one, or say "none" with a mitigation and a name`
}

// Incident is what narrowing the scope of a published release leaves behind.
// The lists hold host names, sorted, and are never null.
type Incident struct {
	Release   ReleaseID `json:"release"`
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	From      Scope     `json:"from"`
	To        Scope     `json:"to"`
	Machines  []string  `json:"machines"`  // no longer in scope
	Installed []string  `json:"installed"` // of those: have it
	Staged    []string  `json:"staged"`    // have a copy, which is to be purged
	Exposed   []string  `json:"exposed"`   // lack a fix that it had
	Ejected   []string  `json:"ejected"`   // have it, are enrolled, and off the track
}

// Narrow changes the scope of a release. When the release has been published
// and a machine falls out, an incident comes with it (invariant 6).
func (c *Catalog) Narrow(id ReleaseID, to Scope, machines []Machine, by, reason string, now time.Time) (Release, *Incident, error) {
	old := c.Release(id)
	switch {
	case old == nil:
		return Release{}, nil, unknownRelease(id)
	case by == "" || reason == "":
		return Release{}, nil, fmt.Errorf("change scope of %s: by %q because %q: both are needed", id, by, reason)
	}
	r := *old
	r.Scope = to
	if !old.reached() {
		return r, nil, nil
	}
	inc := Incident{Release: id, At: now, By: by, Reason: reason, From: old.Scope, To: to,
		Machines: []string{}, Installed: []string{}, Staged: []string{}, Exposed: []string{}, Ejected: []string{}}
	x := c.index()
	holes := x.holesOf(old, now)
	for i := range machines {
		m := &machines[i]
		if old.Scope.Includes(m.Inventory) && !to.Includes(m.Inventory) {
			x.fallsOut(&inc, old, holes, m, now)
		}
	}
	for _, list := range [][]string{inc.Machines, inc.Installed, inc.Staged, inc.Exposed, inc.Ejected} {
		slices.Sort(list)
	}
	if len(inc.Machines) == 0 {
		return r, nil, nil
	}
	return r, &inc, nil
}

// reached: machines may have it.
func (r *Release) reached() bool {
	was := r.Life.Was == InRing || r.Life.Was == Complete
	return r.published() || was && (r.Life.State == Recalled || r.Life.State == Paused)
}

func (x *index) fallsOut(inc *Incident, r *Release, holes []*hole, m *Machine, now time.Time) {
	host := m.Inventory.Host
	inc.Machines = append(inc.Machines, host)
	v := x.view(m.Inventory, &m.Policy, now)
	if v.relevant(r) && v.inPlace(r, []*Release{r}) {
		inc.Installed = append(inc.Installed, host)
		if pos := v.position(); m.Enrolment.Intent.OnProgram() && !pos.OnTrack() {
			inc.Ejected = append(inc.Ejected, host)
		}
	} else if exposedTo(holes, m.Inventory) {
		inc.Exposed = append(inc.Exposed, host)
	}
	if w := m.Enrolment.Work; w != nil && w.Release == r.ID {
		inc.Staged = append(inc.Staged, host)
	}
}
