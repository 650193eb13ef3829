package catalog

import "time"

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
	Baseline ReleaseID `json:"baseline"`
	Hotpatch ReleaseID `json:"hotpatch,omitempty"`
	Restarts []string  `json:"restarts"`
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
