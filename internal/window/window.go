// Package window answers three questions about maintenance windows: is an
// instant inside one (which opening, until when), when is the next, and how
// much work still fits. It is told what time it is and never asks.
//
// A window is a recurrence rule (RFC 5545 §3.3.10) that counts days on the
// wall of one time zone, a time of day, and a length in real time. There is no
// cap on the length. Where the clocks are changed:
//
//   - a start that the wall skips (02:30 on the day of the jump) happens as
//     long after the jump as it was asked for after the last minute that was
//     there: 02:30 is then 03:30 (RFC 5545 §3.3.5). It is never lost;
//   - a start that the wall shows twice happens once, the first time;
//   - the length is elapsed time: 4h are four hours, whatever the wall shows.
//
// Everything is bounded: rules that would open more often than 24 times a day
// are refused, and a search ends after Horizon, also for a rule that no day
// ever satisfies.
//
// The zone's data is all that is read from the machine; a copy is compiled in
// for machines without it.
package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a minimal Debian has none
)

// Bounds of a window.
const (
	Horizon    = 12 * 366 * 24 * time.Hour // how far ahead Next looks: a rule for 29 February may rest eight years
	MaxOpen    = 366 * 24 * time.Hour      // length of one opening
	MaxDates   = 1000                      // exceptions, and extra dates
	MaxWindows = 100                       // in a schedule
	MaxText    = 64 << 10                  // bytes of a window as text; 64 times that for a schedule as JSON
)

// Opening is one time at which a window is open: Start ≤ t < End.
type Opening struct {
	Window string    `json:"window"` // its name
	Start  time.Time `json:"start"`  // UTC
	End    time.Time `json:"end"`    // UTC; moved out where another opening follows without a gap
}

// Left is how long the opening lasts from t on; zero when it is over.
func (o Opening) Left(t time.Time) time.Duration { return max(0, o.End.Sub(t)) }

// Window is a maintenance window. The zero Window is never open.
type Window struct {
	spec Spec
	rule *rule // nil: only the extra dates
	zone *time.Location

	length  time.Duration
	at      civil // time of day, on no date
	except  map[string]bool
	extra   []civil
	closing []civil // exceptions to one minute
}

// Spec is a window as it is written in a policy. Every form of a window,
// JSON and text, has these fields and no others.
type Spec struct {
	Name string `json:"name,omitempty"`
	// Rule is an RFC 5545 RRULE without its name: FREQ=WEEKLY;BYDAY=SA,SU.
	// DAILY or coarser. BYHOUR and BYMINUTE may open it several times a day.
	// Empty: the window opens on the extra dates alone.
	Rule string `json:"rule,omitempty"`
	// At is the time of day, "02:30".
	At string `json:"at"`
	// From is the first day, "2026-01-01". Rules that count (INTERVAL, COUNT),
	// or that take their day from it, need it.
	From string `json:"from,omitempty"`
	// For is the length, "4h" or "3h55m": one minute to a year.
	For string `json:"for"`
	// In is an IANA time zone, "Europe/Berlin". Never guessed.
	In string `json:"in"`
	// Except and Extra are days ("2026-12-24") or minutes
	// ("2026-12-24T02:30"). A day in Extra opens at At; an exception takes
	// away what the rule and Extra give.
	Except []string `json:"except,omitempty"`
	Extra  []string `json:"extra,omitempty"`
}

// Spec is how the window was written.
func (w Window) Spec() Spec {
	s := w.spec
	s.Except, s.Extra = slices.Clone(s.Except), slices.Clone(s.Extra)
	return s
}

// Name is what people call the window.
func (w Window) Name() string { return w.spec.Name }

// Schedule is the windows of a host. An empty one is never open: taking a
// schedule away starts nothing.
type Schedule []Window

// At is the opening that t lies in, and false when there is none. Where
// several windows are open, it is the one that lasts longest; openings that
// follow without a gap count as one, for at most MaxOpen from t.
func (s Schedule) At(t time.Time) (Opening, bool) {
	best, ok := s.longest(t)
	if !ok {
		return Opening{}, false
	}
	for limit := t.Add(MaxOpen); best.End.Before(limit); {
		next, ok := s.longest(best.End)
		if !ok {
			break
		}
		best.End = next.End
	}
	return best, true
}

// longest is the opening at t that ends last.
func (s Schedule) longest(t time.Time) (Opening, bool) {
	var best Opening
	found := false
	for _, w := range s {
		for _, o := range w.Openings(t.Add(-w.length), t) {
			if !o.Start.After(t) && o.End.After(t) && (!found || o.End.After(best.End)) {
				best, found = o, true
			}
		}
	}
	return best, found
}

// Next is the first opening that starts after t, and false when there is none
// within Horizon. Its End is that opening's own.
func (s Schedule) Next(t time.Time) (Opening, bool) {
	var best Opening
	found := false
	for _, w := range s {
		if o, ok := w.next(t); ok && (!found || o.Start.Before(best.Start)) {
			best, found = o, true
		}
	}
	return best, found
}

// next looks in steps that grow: the next opening is mostly near.
func (w Window) next(t time.Time) (Opening, bool) {
	step := 32 * 24 * time.Hour
	for from, end := t, t.Add(Horizon); from.Before(end); step *= 4 {
		to := from.Add(step)
		for _, o := range w.Openings(from, to) {
			if o.Start.After(t) {
				return o, true
			}
		}
		from = to
	}
	return Opening{}, false
}

// String is the window as text, which Parse reads.
func (w Window) String() string { return w.spec.String() }

// String writes the words that Parse reads.
func (s Spec) String() string {
	var b strings.Builder
	word := func(key, value string) {
		if value != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s%s", key, value)
		}
	}
	word("", s.Rule)
	word("at ", s.At)
	word("for ", s.For)
	word("in ", s.In)
	word("from ", s.From)
	word("except ", strings.Join(s.Except, ","))
	word("extra ", strings.Join(s.Extra, ","))
	word("named ", s.Name)
	return b.String()
}
