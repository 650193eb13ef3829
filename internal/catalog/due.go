package catalog

import (
	"fmt"
	"slices"
	"time"

	"hotpatch/internal/window"
)

// Action is what is due.
type Action string

const (
	DoRestart Action = "restart"  // a restart that is pending
	DoRevert  Action = "revert"   // take back a recalled release
	DoApply   Action = "apply"    // a hotpatch, companion, approved outside release, or one with an override
	DoRebase  Action = "rebase"   // install a baseline and restart
	DoCatchUp Action = "catch-up" // rebase, then the latest hotpatch
)

// Due is one thing to be done and when it may be. Where Blocked says why, it
// may not be done at all and is only reported.
type Due struct {
	Action   Action          `json:"action"`
	Release  ReleaseID       `json:"release,omitempty"`
	Content  Digest          `json:"content,omitempty"` // of the release: what was assessed is what may be installed
	Why      string          `json:"why"`
	Restarts []string        `json:"restarts,omitempty"` // units it restarts; empty: none
	Deadline time.Time       `json:"deadline,omitzero"`
	At       time.Time       `json:"at,omitzero"`      // from when on; with Blocked: from when on it might be
	Window   *window.Opening `json:"window,omitempty"` // inside which; nil: it needs none
	Blocked  Block           `json:"blocked,omitempty"`
}

// Block is why something due is not done.
type Block string

const (
	WindowExceeded Block = "window-exceeded" // it does not fit into what is left of the window, or into any
	NoWindow       Block = "no-window"       // it needs a window and the policy has none: never done by itself
	HeldBack       Block = "suspended"
	WordExpired    Block = "catalog-expired" // an expired word starts nothing
)

// Now says whether it may be started at now.
func (d *Due) Now(now time.Time) bool {
	return d.Blocked == "" && !d.At.IsZero() && !d.At.After(now) && (d.Window == nil || now.Before(d.Window.End))
}

// dues lists what is to be done: pending restarts first, then what has to be
// taken back, then what is new.
func (s *assessor) dues() {
	if !s.e.Intent.OnProgram() && s.e.Intent != Pending {
		return // ordinary updating is none of ours
	}
	s.dueRestart()
	s.dueRevert()
	for i := range s.a.Offers {
		o := &s.a.Offers[i]
		r := s.c.Release(o.Release)
		if d, ok := s.dueFor(r, o); ok {
			s.plan(d, len(r.Artifacts))
		}
	}
	// Rebasing restarts; what helps at once does not wait for it.
	slices.SortStableFunc(s.a.Due, func(a, b Due) int { return rank(a.Action) - rank(b.Action) })
}

func rank(a Action) int {
	return slices.Index([]Action{DoRestart, DoRevert, DoApply, DoRebase, DoCatchUp}, a)
}

func (s *assessor) dueRestart() {
	units := map[string]bool{}
	var release ReleaseID
	for _, g := range s.a.Position.Stale {
		if g.Bundle == "" {
			units[g.Unit], release = true, g.Release
		}
	}
	if w := s.e.Work; w != nil && w.State == RestartPending && !w.Restarted {
		if r := s.c.Release(w.Release); r != nil {
			release = r.ID
			for _, u := range r.Restarts {
				units[u] = true
			}
		}
	}
	if len(units) == 0 {
		return
	}
	list := sortedKeys(units)
	s.plan(Due{Action: DoRestart, Release: release, Restarts: list,
		Why: fmt.Sprintf("%s is on disk, and %s still runs what was there before", release, some(list, 3))}, len(list))
}

// dueRevert takes a recalled release out of memory. That restarts nothing.
func (s *assessor) dueRevert() {
	for i := range s.c.Releases {
		r := &s.c.Releases[i]
		if r.Life.State != Recalled || !s.inMemory(r) {
			continue
		}
		s.plan(Due{Action: DoRevert, Release: r.ID, Content: r.Content(), Why: "it was recalled: " + r.Life.Reason}, len(r.Artifacts))
	}
}

// inMemory: a bundle of r, which no other release in force has too, is in a process.
func (s *assessor) inMemory(r *Release) bool {
	for i := range r.Artifacts {
		b := r.Artifacts[i].Bundle
		if b == "" || slices.ContainsFunc(s.c.Releases, func(o Release) bool {
			return o.Life.State != Recalled && slices.ContainsFunc(o.Artifacts, func(a Artifact) bool { return a.Bundle == b })
		}) {
			continue
		}
		if slices.ContainsFunc(s.inv.Processes, func(p Process) bool { return slices.Contains(p.Patches, b) }) {
			return true
		}
	}
	return false
}

// dueFor says what an offered release asks for. Offers outside the track's own
// course (going back to an old baseline) are due only when asked for.
func (s *assessor) dueFor(r *Release, o *Offer) (Due, bool) {
	d := Due{Action: DoApply, Release: r.ID, Content: o.Content, Why: o.Why, Restarts: o.Restarts, Deadline: r.Deadline}
	switch r.Kind {
	case Baseline:
		if s.off != nil && r.ID != s.policy.Rebase && !r.Available.After(s.off.Since) {
			return d, false // offered as "rebase now", done only when somebody says so
		}
		d.Action, d.Why = DoRebase, fmt.Sprintf("%s is the baseline of the track now", r.label())
		switch {
		case s.off != nil:
			d.Why = fmt.Sprintf("%s brings this machine back to the track", r.label())
		case s.missed(r):
			d.Action, d.Why = DoCatchUp, fmt.Sprintf("this machine missed %s, and hotpatches go on top of it", r.label())
		}
		if len(d.Restarts) == 0 {
			d.Restarts = r.Restarts
		}
	case Hotpatch, Companion:
		return d, true
	default:
		// Cold and outside: on the program only with an override or approval,
		// which is why they are offered; a pending machine updates by itself.
		return d, s.e.Intent.OnProgram()
	}
	return d, true
}

// missed: a hotpatch for the new baseline is out, its deadline has passed, or
// there was another baseline before it.
func (s *assessor) missed(b *Release) bool {
	if at := s.c.Release(s.a.Position.Baseline); at != nil && slices.ContainsFunc(s.c.Baselines(s.now), func(o *Release) bool {
		return o.Available.After(at.Available) && o.Available.Before(b.Available)
	}) {
		return true
	}
	return !b.Deadline.IsZero() && s.now.After(b.Deadline) || len(s.c.On(b.ID, Hotpatch, s.now)) > 0
}

// plan says when something may be done, and adds it. What restarts something
// needs a window, always; the rest needs one when the policy says so.
func (s *assessor) plan(d Due, items int) {
	restarts := len(d.Restarts) > 0 || d.Action == DoRebase || d.Action == DoCatchUp
	switch {
	case s.e.Intent == Suspended:
		d.Blocked = HeldBack
	case s.c.Stale(s.now) && d.Action != DoRestart:
		d.Blocked = WordExpired
	case !restarts && (s.policy.Hotpatches != InWindow || d.Action == DoRevert):
		d.At = s.now
	default:
		d.place(s.policy, s.now, items, restarts)
	}
	s.a.Due = append(s.a.Due, d)
}

// place finds the window.
func (d *Due) place(p *Policy, now time.Time, items int, restarts bool) {
	fits := func(left time.Duration) bool { return window.Fits(left, items, p.each(), restarts) }
	if o, ok := p.Windows.At(now); ok {
		if fits(o.Left(now)) {
			d.At, d.Window = now, &o
			return
		}
		d.Blocked = WindowExceeded
	}
	o, ok := p.Windows.Next(now)
	switch {
	case !ok && d.Blocked == "":
		d.Blocked = NoWindow
	case ok && fits(o.End.Sub(o.Start)):
		d.At, d.Window = o.Start, &o
	case ok:
		d.Blocked = WindowExceeded
	}
}
