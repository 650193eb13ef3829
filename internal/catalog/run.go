package catalog

import "time"

// RunState is how a run (one window's work on one machine) stands.
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

// Run is one piece of work on one machine, with what came of it.
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
