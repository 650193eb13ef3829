package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// TrackState is where an enrolled machine stands.
type TrackState string

const (
	Ineligible        TrackState = "ineligible"         // Gates says why
	Current           TrackState = "current"            // Baseline and Hotpatch, on disk and in memory
	HotpatchAvailable TrackState = "hotpatch-available" // Release
	Staged            TrackState = "staged"             // Release is on the machine, nothing applied
	Applying          TrackState = "applying"
	AppliedUnverified TrackState = "applied-unverified" // applied; memory not read back yet
	BaselineDue       TrackState = "baseline-due"       // Release, Planned, Deadline
	RestartPending    TrackState = "restart-pending"    // Restarts; the disk is ahead of memory
	CatchUp           TrackState = "catch-up"           // missed a baseline: one restart, then the latest hotpatch
	OffTheTrack       TrackState = "off-track"          // OffTrack
	Failed            TrackState = "failed"             // Reason
)

// Track is a machine's state, with what belongs to that state. The zero Track
// is a machine that is not in the program.
type Track struct {
	State    TrackState `json:"state,omitempty"`
	Baseline ReleaseID  `json:"baseline,omitempty"` // the one the machine is on
	Hotpatch ReleaseID  `json:"hotpatch,omitempty"` // the newest in place on it
	Release  ReleaseID  `json:"release,omitempty"`  // the one that is available, staged, due, …
	Planned  bool       `json:"planned,omitempty"`  // of baseline-due: no unplanned baseline
	Deadline time.Time  `json:"deadline,omitzero"`
	Reason   string     `json:"reason,omitempty"`
	Gates    []Gate     `json:"gates,omitempty"`
	Restarts []string   `json:"restarts,omitempty"` // units
	OffTrack *OffTrack  `json:"off_track,omitempty"`
}

// OffTrack is what a machine off its track is told (invariant 7); every field
// is there, always.
type OffTrack struct {
	Cause    string    `json:"cause"`
	Release  ReleaseID `json:"release,omitempty"` // what ejected it; empty: nothing of the catalogue
	Actor    string    `json:"actor"`             // "unknown" when nobody left a receipt
	Since    time.Time `json:"since"`
	Rejoin   Rejoin    `json:"rejoin_at"`
	Restarts []Restart `json:"restarts"` // expected until then, the rejoining one last
	Rebase   Rebase    `json:"rebase_now"`
}

// Rejoin is the baseline at which the machine is on the track again without
// doing anything special.
type Rejoin struct {
	Baseline ReleaseID `json:"baseline,omitempty"` // empty: not published yet
	Month    string    `json:"month"`
	At       time.Time `json:"at"`
}

// Rebase is the way back that needs no waiting: this baseline and the latest
// hotpatch on it, with one restart inside a window.
type Rebase struct {
	Baseline ReleaseID `json:"baseline,omitempty"`
	Hotpatch ReleaseID `json:"hotpatch,omitempty"`
	Restarts []string  `json:"restarts,omitempty"`
	None     string    `json:"none,omitempty"` // why there is no such baseline now
}

// Position is which release a machine matches, as measured on disk.
type Position struct {
	Baseline   ReleaseID   `json:"baseline,omitempty"`   // empty: none
	Hotpatch   ReleaseID   `json:"hotpatch,omitempty"`   // newest in place, on disk and in memory
	Companions []ReleaseID `json:"companions,omitempty"` // in place, and not superseded by Hotpatch
	Strays     []Stray     `json:"strays,omitempty"`     // what belongs to no release of the track
	Stale      []Stale     `json:"stale,omitempty"`      // memory behind disk
}

// OnTrack: everything on disk belongs to one baseline and what goes on top.
func (p *Position) OnTrack() bool { return p.Baseline != "" && len(p.Strays) == 0 }

// Stray is a pinned package that no release of the track has like this.
type Stray struct {
	Package string    `json:"package"`
	Version string    `json:"version"`
	Release ReleaseID `json:"release,omitempty"` // a release off the track that has it
	Why     string    `json:"why"`
}

// Stale is a process whose memory is behind its disk.
type Stale struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
	Unit    string `json:"unit,omitempty"`
	Path    string `json:"path"`
	Package string `json:"package"`
	BuildID string `json:"build_id"`
	// Bundle would bring it up to date without a restart; empty: only a
	// restart does.
	Bundle  Digest    `json:"bundle,omitempty"`
	Release ReleaseID `json:"release"`
}

// offTrack says everything about a machine that left (invariant 7). What was
// recorded when it was first seen holds; the rest is told from what is there.
func (s *assessor) offTrack() *OffTrack {
	off := &OffTrack{Actor: "unknown", Since: s.now}
	for _, g := range s.a.Position.Strays {
		r := s.c.Release(g.Release)
		if off.Cause == "" {
			off.Cause = fmt.Sprintf("%s is at %s: %s", g.Package, g.Version, g.Why)
		}
		if r != nil && s.effect(r, s.inv) == Ejects {
			off.Release = r.ID
			off.Cause = fmt.Sprintf("%s, a %s release, is installed: %s is at %s", r.label(), r.Kind, g.Package, g.Version)
			break
		}
	}
	if off.Cause == "" {
		off.Cause = "no baseline is known"
	}
	for _, rc := range s.inv.Receipts {
		if rc.Release == off.Release && off.Release != "" && !rc.At.After(s.now) {
			off.Actor, off.Since = cmp.Or(rc.By, off.Actor), rc.At
		}
	}
	if l := s.e.Left; l != nil {
		off.Since, off.Actor = l.At, cmp.Or(l.By, off.Actor)
		if l.Cause != "" {
			off.Cause, off.Release = l.Cause, l.Release
		}
	}
	off.Rebase = s.rebase()
	off.Rejoin = s.rejoin(off.Since)
	off.Restarts = s.restartsUntil(off.Rejoin)
	return off
}

// rebase is the way back at once: the newest baseline that this machine may
// have.
func (s *assessor) rebase() Rebase {
	for _, b := range slices.Backward(s.c.Baselines(s.now)) {
		if s.notOut(b) != nil || s.notHere(b) != nil {
			continue
		}
		back := Rebase{Baseline: b.ID, Restarts: s.restarts(b)}
		for _, h := range s.c.On(b.ID, Hotpatch, s.now) {
			if s.notOut(h) == nil && s.notHere(h) == nil {
				back.Hotpatch = h.ID
			}
		}
		return back
	}
	return Rebase{None: "no baseline is published for this machine now"}
}

// rejoin is the first baseline after since that is not in the past, or the
// newest that is out.
func (s *assessor) rejoin(since time.Time) Rejoin {
	for _, b := range slices.Backward(s.c.Baselines(s.now)) {
		if b.Available.After(since) {
			return Rejoin{Baseline: b.ID, Month: b.Available.UTC().Format("2006-01"), At: b.Available}
		}
	}
	if row, ok := s.c.Calendar.NextBaseline(s.now); ok {
		return Rejoin{Baseline: row.Release, Month: row.Month, At: row.Available}
	}
	// No calendar and no plan: the custom of four baselines a year.
	at := time.Date(s.now.UTC().Year(), (s.now.UTC().Month()-1)/3*3+4, 1, 0, 0, 0, 0, time.UTC)
	return Rejoin{Month: at.Format("2006-01"), At: at}
}

// restartsUntil are those of ordinary updating, month by month, and the one
// that rejoins. There is always at least that one.
func (s *assessor) restartsUntil(j Rejoin) []Restart {
	var out []Restart
	for _, w := range s.c.Calendar.between(s.now, j.At) {
		if w.Type == TypeHotpatch {
			out = append(out, s.restart(w, "off the track, "+w.Update+" is installed the ordinary way, with a restart"))
		}
	}
	last := Restart{At: j.At, Month: j.Month, Release: j.Baseline, Planned: j.Baseline == "",
		Why: "the baseline of " + j.Month + " brings this machine back to the track"}
	last.At, last.NoWindow = s.opening(maxTime(j.At, s.now))
	return append(out, last)
}

// trackState is the state of a machine on the program, the most urgent first.
func (s *assessor) trackState() Track {
	t := Track{Baseline: s.a.Position.Baseline, Hotpatch: s.a.Position.Hotpatch}
	w := s.e.Work
	switch {
	case len(s.a.Gates) > 0:
		t.State, t.Gates = Ineligible, s.a.Gates
	case w != nil && w.State == Failed:
		t.State, t.Release, t.Reason = Failed, w.Release, cmp.Or(w.Reason, "no reason was recorded")
	case s.lost(w) != "":
		t.State, t.Release, t.Reason = Failed, w.Release, s.lost(w)
	case w != nil && (w.State == Applying || w.State == AppliedUnverified):
		t.State, t.Release = w.State, w.Release
	case s.off != nil:
		t.State, t.OffTrack = OffTheTrack, s.off
	default:
		s.onTrack(&t)
	}
	return t
}

// lost says how a machine that was restarted for a release fails to match it
// (invariant 10); "" when it matches, or was not restarted.
func (s *assessor) lost(w *Work) string {
	if w == nil || !w.Restarted {
		return ""
	}
	missing, err := s.c.Verify(s.inv, w.Release, s.policy.Disk == MemoryOnly)
	switch {
	case err != nil:
		return fmt.Sprintf("after the restart: %v", err)
	case len(missing) > 0:
		return fmt.Sprintf("after the restart %s does not match: %s", w.Release, missing[0])
	}
	return ""
}

// onTrack chooses among the states of a machine that is where it belongs. A
// baseline that is due says more than a hotpatch that waits with it.
func (s *assessor) onTrack(t *Track) {
	due := slices.SortedStableFunc(slices.Values(s.a.Due), func(a, b Due) int {
		last := func(d Due) int {
			if d.Action == DoApply {
				return 1
			}
			return 0
		}
		return last(a) - last(b)
	})
	for i := range due {
		d := &due[i]
		r := s.c.Release(d.Release)
		switch d.Action {
		case DoRestart:
			t.State, t.Release, t.Restarts = RestartPending, d.Release, d.Restarts
			return
		case DoRebase, DoCatchUp:
			t.State, t.Release, t.Deadline = BaselineDue, d.Release, d.Deadline
			t.Planned = !r.Unplanned
			if d.Action == DoCatchUp {
				t.State = CatchUp
			}
			if w := s.e.Work; w != nil && w.State == Staged && w.Release == d.Release {
				t.State = Staged
			}
			return
		case DoApply:
			if r.Kind != Hotpatch && r.Kind != Companion {
				continue
			}
			t.State, t.Release = HotpatchAvailable, d.Release
			if w := s.e.Work; w != nil && w.State == Staged && w.Release == d.Release {
				t.State = Staged
			}
			return
		}
	}
	t.State = Current
}
