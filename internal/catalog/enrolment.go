package catalog

import (
	"fmt"
	"time"
)

// Intent is what somebody wants of a machine:
// not-enrolled → pending → enrolled ⇄ suspended → cancelled.
type Intent string

const (
	NotEnrolled Intent = "not-enrolled" // ordinary updating
	Pending     Intent = "pending"      // wants to, but a gate is unmet or it is at no baseline yet
	Enrolled    Intent = "enrolled"
	Suspended   Intent = "suspended" // keeps its place; nothing is applied, and nothing that ejects is offered
	Cancelled   Intent = "cancelled" // ordinary updating again; may enrol anew
)

// OnProgram: the promises to enrolled machines hold (invariant 1).
func (i Intent) OnProgram() bool { return i == Enrolled || i == Suspended }

// Enrolment is the machine's own record: what is wanted, since when, and what
// is being done. The agent keeps it, in a journal; nothing here is measured.
type Enrolment struct {
	Intent Intent     `json:"intent"`
	Since  time.Time  `json:"since,omitzero"`
	By     string     `json:"by,omitempty"`
	Joined ReleaseID  `json:"joined,omitempty"` // the baseline it was last seen on
	Left   *Departure `json:"left,omitempty"`   // when it was first seen off the track
	Work   *Work      `json:"work,omitempty"`   // what the agent is at
}

// Departure is the record of leaving the track.
type Departure struct {
	Cause   string    `json:"cause"`
	Release ReleaseID `json:"release,omitempty"` // what ejected it; empty: nothing of the catalogue
	By      string    `json:"by"`                // who installed that; "unknown" when nobody left a receipt
	At      time.Time `json:"at"`
}

// Work is one release in the agent's hands.
type Work struct {
	Release ReleaseID  `json:"release"`
	Content Digest     `json:"content"` // of the release when it was staged
	State   TrackState `json:"state"`   // staged, applying, applied-unverified, restart-pending or failed
	// Restarted: the restart that the release asked for has been made. From
	// then on the machine matches the release, or it is failed (invariant 10).
	Restarted bool      `json:"restarted,omitempty"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"` // of failed
}

// Request asks for a change of intent. Enrolling goes to pending; Advance
// makes it enrolled as soon as every gate is met and a baseline is matched.
//
//	not-enrolled, cancelled → pending (Pending)
//	enrolled → suspended (Suspended), suspended → enrolled (Enrolled)
//	pending, enrolled, suspended → cancelled (Cancelled)
func (e Enrolment) Request(to Intent, by string, now time.Time) (Enrolment, error) {
	from := e.Intent
	if from == "" {
		from = NotEnrolled
	}
	ok := by != "" && map[[2]Intent]bool{
		{NotEnrolled, Pending}:   true,
		{Cancelled, Pending}:     true,
		{Enrolled, Suspended}:    true,
		{Suspended, Enrolled}:    true,
		{Pending, Cancelled}:     true,
		{Enrolled, Cancelled}:    true,
		{Suspended, Cancelled}:   true,
		{Suspended, NotEnrolled}: false,
	}[[2]Intent{from, to}]
	if !ok {
		return e, fmt.Errorf("change enrolment: %s to %s by %q is no step", from, to, by)
	}
	e.Intent, e.By, e.Since = to, by, now
	if to == Cancelled {
		e.Left, e.Work = nil, nil
	}
	return e, nil
}

// Advance records what an assessment found: a pending machine becomes
// enrolled, leaving the track is noted once, with its cause, and forgotten on
// return. It never changes what is wanted.
func (e Enrolment) Advance(a *Assessment) Enrolment {
	switch {
	case e.Intent == Pending && len(a.Gates) == 0 && a.Position.OnTrack():
		e.Intent, e.Since = Enrolled, a.At
	case !e.Intent.OnProgram():
		return e
	}
	if off := a.Track.OffTrack; off != nil {
		if e.Left == nil {
			e.Left = &Departure{Cause: off.Cause, Release: off.Release, By: off.Actor, At: off.Since}
		}
	} else if a.Position.OnTrack() {
		e.Left = nil
		e.Joined = a.Position.Baseline
	}
	return e
}
