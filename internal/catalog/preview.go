package catalog

import (
	"fmt"
	"slices"
	"time"

	"hotpatch/internal/window"
)

// Preview is what approving a release would do to a set of machines. The
// lists hold host names, sorted, and are never null.
type Preview struct {
	OnTrack              int       `json:"on_track"`               // machines on the track that stay on it
	WouldEject           []string  `json:"would_eject"`            // machines that would leave it
	ExtraRestartsUntil   time.Time `json:"extra_restarts_until"`   // the baseline at which those rejoin; year 1: nobody is ejected
	RestartNow           []string  `json:"restart_now"`            // machines on which it restarts something
	NeutralAlternative   ReleaseID `json:"neutral_alternative"`    // the same fix that ejects nobody; "": there is none
	VulnerableIfDeferred []string  `json:"vulnerable_if_deferred"` // machines exposed to something it fixes
	OutsideWindow        []string  `json:"outside_window"`         // machines that need a window for it and have none in time
}

// Machine is one of the machines that a preview is about.
type Machine struct {
	Inventory *Inventory
	Enrolment Enrolment
	Policy    Policy
}

// patience is how long a release without a deadline is expected to wait for a
// window.
const patience = 30 * 24 * time.Hour

// Preview says what approving a release would do to these machines at now. It
// asks nobody and offers nothing; the release may be a draft.
func (c *Catalog) Preview(id ReleaseID, machines []Machine, now time.Time) (Preview, error) {
	p := Preview{WouldEject: []string{}, RestartNow: []string{}, VulnerableIfDeferred: []string{}, OutsideWindow: []string{}}
	r := c.Release(id)
	if r == nil {
		return p, unknownRelease(id)
	}
	// The release as it would be: published and available.
	as := *c
	as.Releases = slices.Clone(c.Releases)
	r = as.Release(id)
	r.Life = Life{State: Complete}
	if r.Available.After(now) {
		r.Available = now
	}
	x := as.index()
	holes := x.holesOf(r, now)
	for i := range machines {
		x.previewOn(&p, r, holes, &machines[i], now)
	}
	for _, list := range [][]string{p.WouldEject, p.RestartNow, p.VulnerableIfDeferred, p.OutsideWindow} {
		slices.Sort(list)
	}
	if c.ejectsSomebody(r) || len(p.WouldEject) > 0 {
		if alt := c.Alternative(r); alt != nil {
			p.NeutralAlternative = alt.ID
		}
	}
	if len(p.WouldEject) > 0 {
		s := &assessor{view: x.view(machines[0].Inventory, nil, now)}
		p.ExtraRestartsUntil = s.rejoin(now).At
	}
	return p, nil
}

func (c *Catalog) ejectsSomebody(r *Release) bool { return r.Kind == Cold }

// previewOn adds one machine.
func (x *index) previewOn(p *Preview, r *Release, holes []*hole, m *Machine, now time.Time) {
	v := x.view(m.Inventory, &m.Policy, now)
	host := m.Inventory.Host
	concerned := r.Scope.Includes(m.Inventory) && v.relevant(r) && !v.inPlace(r, []*Release{r})
	onTrack := false
	if m.Enrolment.Intent.OnProgram() {
		pos := v.position()
		onTrack = pos.OnTrack()
		if r.Kind == Hotpatch || r.Kind == Companion {
			concerned = concerned && onTrack && pos.Baseline == r.Baseline
		}
	} else if r.Kind == Hotpatch || r.Kind == Companion {
		concerned = false
	}
	ejects := concerned && m.Enrolment.Intent.OnProgram() && x.effect(r, m.Inventory) == Ejects
	switch {
	case ejects:
		// Also a machine that is off the track: approving is for all it names.
		p.WouldEject = append(p.WouldEject, host)
	case onTrack:
		p.OnTrack++
	}
	if !concerned {
		return
	}
	restarts := v.restarts(r)
	if len(restarts) > 0 {
		p.RestartNow = append(p.RestartNow, host)
	}
	if exposedTo(holes, m.Inventory) {
		p.VulnerableIfDeferred = append(p.VulnerableIfDeferred, host)
	}
	if (len(restarts) > 0 || m.Policy.Hotpatches == InWindow) && !v.windowFor(r, len(restarts) > 0) {
		p.OutsideWindow = append(p.OutsideWindow, host)
	}
}

// holesOf are those that r closes.
func (x *index) holesOf(r *Release, now time.Time) []*hole {
	cves := r.CVEs()
	return slices.DeleteFunc(x.view(&Inventory{}, nil, now).holes(), func(h *hole) bool { return !slices.Contains(cves, h.cve) })
}

// exposedTo: one of the holes is open on the machine, or may be.
func exposedTo(holes []*hole, inv *Inventory) bool {
	f := inv.find()
	return slices.ContainsFunc(holes, func(h *hole) bool {
		status := h.on(f).Status
		return status == Exposed || status == Undetermined
	})
}

// windowFor: there is an opening in time that the release fits into.
func (v *view) windowFor(r *Release, restarts bool) bool {
	end := v.now.Add(patience)
	if r.Deadline.After(v.now) {
		end = r.Deadline
	}
	fits := func(left time.Duration) bool { return window.Fits(left, len(r.Artifacts), v.policy.each(), restarts) }
	if o, ok := v.policy.Windows.At(v.now); ok && fits(o.Left(v.now)) {
		return true
	}
	for t := v.now; ; {
		o, ok := v.policy.Windows.Next(t)
		switch {
		case !ok || !o.Start.Before(end):
			return false
		case fits(o.End.Sub(o.Start)):
			return true
		}
		t = o.Start
	}
}

// Digest binds a preview to the release and the content that it was made of.
func (p *Preview) Digest(id ReleaseID, content Digest) Digest {
	parts := []string{"preview", string(id), string(content), fmt.Sprint(p.OnTrack),
		p.ExtraRestartsUntil.UTC().Format(time.RFC3339Nano), string(p.NeutralAlternative)}
	for _, list := range [][]string{p.WouldEject, p.RestartNow, p.VulnerableIfDeferred, p.OutsideWindow} {
		parts = append(parts, fmt.Sprint(len(list)))
		parts = append(parts, slices.Sorted(slices.Values(list))...)
	}
	return digestOf(parts...)
}
