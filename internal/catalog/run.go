package catalog

import (
	"fmt"
	"slices"
	"time"
)

// RunState is how a run (one piece of work on one machine) stands.
type RunState string

const (
	RunNotStarted RunState = "not-started"
	RunInProgress RunState = "in-progress"
	RunSucceeded  RunState = "succeeded"
	RunFailed     RunState = "failed"
	RunWarnings   RunState = "completed-with-warnings"
	RunCancelled  RunState = "cancelled"
)

// RestartStatus is what became of the restart in a run.
type RestartStatus string

const (
	RestartNotNeeded RestartStatus = "not-needed"
	RestartRequired  RestartStatus = "required"
	RestartStarted   RestartStatus = "started"
	RestartCompleted RestartStatus = "completed"
	RestartFailed    RestartStatus = "failed"
)

// ItemState is one package or process in a run.
type ItemState string

const (
	ItemAvailable   ItemState = "available"
	ItemPending     ItemState = "pending"
	ItemInstalled   ItemState = "installed"
	ItemFailed      ItemState = "failed"
	ItemExcluded    ItemState = "excluded"
	ItemNotSelected ItemState = "not-selected"
)

// Run is one piece of work on one machine, with what came of it. Every method
// returns the next state of the run and leaves its receiver alone.
type Run struct {
	ID       string        `json:"id"`
	Host     string        `json:"host"`
	Release  ReleaseID     `json:"release"`
	State    RunState      `json:"state"`
	Restart  RestartStatus `json:"restart"`
	Started  time.Time     `json:"started,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	Items    []Item        `json:"items"`
	Warnings []string      `json:"warnings,omitempty"` // window-exceeded, a post-hook that failed, …
	Reason   string        `json:"reason,omitempty"`   // of failed and cancelled
}

// Item is one package or process in a Run.
type Item struct {
	Name   string    `json:"name"` // package, or "pid 812 (nginx)"
	State  ItemState `json:"state"`
	Reason string    `json:"reason,omitempty"`
}

// Ended says whether nothing more comes.
func (s RunState) Ended() bool {
	return s == RunSucceeded || s == RunFailed || s == RunWarnings || s == RunCancelled
}

// May says whether a run may go from one state to the next.
func (s RunState) May(next RunState) bool {
	switch s {
	case RunNotStarted:
		return next == RunInProgress || next == RunCancelled
	case RunInProgress:
		return next.Ended()
	}
	return false
}

// May says whether a restart may go from one status to the next.
func (s RestartStatus) May(next RestartStatus) bool {
	switch s {
	case RestartNotNeeded:
		return next == RestartRequired
	case RestartRequired:
		return next == RestartStarted || next == RestartNotNeeded
	case RestartStarted:
		return next == RestartCompleted || next == RestartFailed
	case RestartFailed:
		return next == RestartStarted
	}
	return false
}

// May says whether an item may go from one state to the next.
func (s ItemState) May(next ItemState) bool {
	switch s {
	case ItemAvailable:
		return next == ItemPending || next == ItemExcluded || next == ItemNotSelected
	case ItemPending:
		return next == ItemInstalled || next == ItemFailed || next == ItemNotSelected
	}
	return false
}

// Start begins a run.
func (r Run) Start(now time.Time) (Run, error) {
	if !r.State.May(RunInProgress) {
		return r, fmt.Errorf("start run %s: it is %s", r.ID, r.State)
	}
	r.State, r.Started = RunInProgress, now
	return r, nil
}

// Cancel ends a run before anything that is pending was done.
func (r Run) Cancel(reason string, now time.Time) (Run, error) {
	if r.State != RunInProgress && r.State != RunNotStarted || reason == "" {
		return r, fmt.Errorf("cancel run %s: it is %s, because %q", r.ID, r.State, reason)
	}
	r.State, r.Ended, r.Reason = RunCancelled, now, reason
	return r, nil
}

// Conclude ends a run and says how it went. A failed item or restart makes it
// failed; warnings, a restart that is still required, and items left pending
// or available make it completed-with-warnings: nothing is called done that
// was not.
func (r Run) Conclude(now time.Time) (Run, error) {
	if r.State != RunInProgress {
		return r, fmt.Errorf("conclude run %s: it is %s", r.ID, r.State)
	}
	r.Ended, r.State = now, RunSucceeded
	r.Warnings = slices.Clone(r.Warnings)
	if r.Restart == RestartRequired || r.Restart == RestartStarted {
		r.Warnings = append(r.Warnings, "a restart is "+string(r.Restart))
	}
	for _, i := range r.Items {
		switch i.State {
		case ItemFailed:
			r.State = RunFailed
			if r.Reason == "" {
				r.Reason = i.Name + ": " + i.Reason
			}
		case ItemPending, ItemAvailable:
			r.Warnings = append(r.Warnings, i.Name+" is "+string(i.State))
		}
	}
	switch {
	case r.Restart == RestartFailed:
		r.State = RunFailed
		if r.Reason == "" {
			r.Reason = "the restart failed"
		}
	case r.State == RunSucceeded && len(r.Warnings) > 0:
		r.State = RunWarnings
	}
	return r, nil
}
