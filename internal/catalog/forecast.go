package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Restart is one that is expected.
type Restart struct {
	At       time.Time `json:"at"` // the window's opening; where there is none, when the release is available
	Why      string    `json:"why"`
	Release  ReleaseID `json:"release,omitempty"`
	Month    string    `json:"month"`
	Planned  bool      `json:"planned"`             // follows from the plan: not published yet
	NoWindow bool      `json:"no_window,omitempty"` // no window: it will be reported, not made
}

// Outlook is the restarts of the next 12 months, with and without enrolment.
type Outlook struct {
	Host    string    `json:"host"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	With    []Restart `json:"with"`
	Without []Restart `json:"without"`
}

// Forecast lists the restarts of the 12 months from now on: what is due
// already, then the calendar's rows and its plan. It is a forecast: unplanned
// baselines are in it from the day they are published.
func Forecast(inv *Inventory, c *Catalog, e Enrolment, p *Policy, now time.Time) Outlook {
	if p == nil {
		p = &Policy{}
	}
	a := Assess(inv, c, e, p, now)
	s := &assessor{view: c.index().view(inv, p, now), a: a, e: &e, off: a.Track.OffTrack}
	o := Outlook{Host: inv.Host, From: now, To: now.AddDate(1, 0, 0), With: []Restart{}, Without: []Restart{}}
	o.With = append(o.With, s.dueRestarts()...)
	if slices.ContainsFunc(a.Exposure, func(x Exposure) bool { return x.Status == Exposed }) {
		at, none := s.opening(now)
		o.Without = append(o.Without, Restart{At: at, NoWindow: none, Month: at.UTC().Format("2006-01"),
			Why: "updates that are out already are installed the ordinary way"})
	}
	// A machine that is not on the track rejoins at the next baseline.
	onTrack := s.off == nil && a.Position.OnTrack()
	for _, w := range c.Calendar.between(now, o.To) {
		switch {
		case w.Type.baseline():
			o.With = append(o.With, s.restart(w, w.Update+" rebases the track"))
			onTrack = true
		case w.Type == TypeHotpatch && !onTrack:
			o.With = append(o.With, s.restart(w, w.Update+" is installed the ordinary way until the machine rejoins"))
		}
		if w.Type != TypeCompanion {
			o.Without = append(o.Without, s.restart(w, "ordinary updating: what "+w.Update+" brings needs a restart"))
		}
	}
	return o
}

// dueRestarts are those that the assessment has.
func (s *assessor) dueRestarts() []Restart {
	var out []Restart
	for i := range s.a.Due {
		d := &s.a.Due[i]
		if len(d.Restarts) == 0 {
			continue
		}
		at := cmp.Or(d.At, s.now)
		out = append(out, Restart{At: at, Why: d.Why, Release: d.Release, Month: at.UTC().Format("2006-01"),
			NoWindow: d.Blocked == NoWindow || d.Blocked == WindowExceeded && d.Window == nil})
	}
	return out
}

// restart is that of a calendar row.
func (s *assessor) restart(w Row, why string) Restart {
	at, none := s.opening(w.Available)
	return Restart{At: at, NoWindow: none, Why: why, Release: w.Release, Month: w.Month, Planned: w.Planned}
}

// opening is the first instant inside a window from t on; t itself, and true,
// when there is none.
func (s *assessor) opening(t time.Time) (time.Time, bool) {
	if _, ok := s.policy.Windows.At(t); ok {
		return t, false
	}
	if o, ok := s.policy.Windows.Next(t); ok {
		return o.Start, false
	}
	return t, true
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// WhyRestart says in one sentence why this machine will restart, and when.
func WhyRestart(a *Assessment) string {
	for i := range a.Due {
		d := &a.Due[i]
		if len(d.Restarts) == 0 && d.Action != DoRebase && d.Action != DoCatchUp {
			continue
		}
		what := "This machine restarts"
		if len(d.Restarts) > 0 && !slices.Contains(d.Restarts, HostUnit) {
			what = some(d.Restarts, 3) + " will be restarted"
		}
		return fmt.Sprintf("%s %s: %s%s.", what, d.when(), d.Why, a.until(d))
	}
	if a.Intent == Suspended {
		return "Nothing restarts: the enrolment is suspended."
	}
	if t := a.Track.OffTrack; t != nil {
		last := t.Restarts[len(t.Restarts)-1]
		return fmt.Sprintf("This machine will restart %s until %s, because it is off the track since %s: %s%s.",
			times(len(t.Restarts)), last.At.UTC().Format("2006-01-02"), t.Since.UTC().Format("2006-01-02"), t.Cause, t.Rebase.hint())
	}
	if !a.Intent.OnProgram() {
		return "This machine restarts whenever ordinary updating asks for it: it is not enrolled."
	}
	return "No restart is due: everything that is out is in place or needs none."
}

func (r *Rebase) hint() string {
	if r.Baseline == "" {
		return ""
	}
	return "; to rejoin at once, rebase now to " + string(r.Baseline)
}

func (d *Due) when() string {
	switch {
	case d.Blocked == NoWindow:
		return "at no time by itself, for no window is set"
	case d.Blocked == HeldBack:
		return "not before the enrolment is resumed"
	case d.Blocked == WordExpired:
		return "not before there is a fresh catalogue"
	case d.At.IsZero():
		return "at no time by itself, for it fits into no window"
	}
	return "on " + d.At.UTC().Format("2006-01-02 at 15:04 MST")
}

func (a *Assessment) until(d *Due) string {
	if d.Deadline.IsZero() {
		return ""
	}
	if a.At.After(d.Deadline) {
		return ", and its deadline was " + d.Deadline.UTC().Format("2006-01-02")
	}
	return ", until " + d.Deadline.UTC().Format("2006-01-02") + " at the latest"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
