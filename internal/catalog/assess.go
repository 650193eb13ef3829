package catalog

import (
	"time"

	"hotpatch/internal/window"
)

// Assessment is everything that can be said of a machine at one instant.
type Assessment struct {
	Format   int        `json:"format"` // Format
	Host     string     `json:"host"`
	At       time.Time  `json:"at"`
	Intent   Intent     `json:"intent"`
	Gates    []Gate     `json:"gates"` // every unmet one, whatever the intent
	Track    Track      `json:"track"`
	Position Position   `json:"position"`
	State    State      `json:"state"`
	Exposure []Exposure `json:"exposure"` // by CVE, then package
	Due      []Due      `json:"due"`      // what is to be done, in this order
	Offers   []Offer    `json:"offers"`   // what may be installed
	Withheld []Withheld `json:"withheld"` // what may not, and why
}

// Gate is one unmet condition of eligibility.
type Gate struct {
	Code   string `json:"code"` // architecture, channel, kernel, ptrace, seccomp, packages, disk, pinned, stale-memory, catalog
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

// ExposureStatus is what a CVE means on this machine.
type ExposureStatus string

const (
	NotAffected   ExposureStatus = "not-affected"    // the package is not here, or was never vulnerable
	FixedOnDisk   ExposureStatus = "fixed-on-disk"   // on disk, and no process runs anything older
	FixedInMemory ExposureStatus = "fixed-in-memory" // every process that runs it has the fix
	Exposed       ExposureStatus = "exposed"         // some process, or the next start, has it not
	Undetermined  ExposureStatus = "undetermined"    // something could not be read: never called fixed
)

// Exposure is one CVE in one package on this machine.
type Exposure struct {
	CVE       string            `json:"cve"`
	Package   string            `json:"package"`
	Status    ExposureStatus    `json:"status"`
	Disk      bool              `json:"disk"` // the file on disk, so the next start, has the fix
	Version   string            `json:"version,omitempty"`
	Fixed     string            `json:"fixed,omitempty"` // first version that has it
	Release   ReleaseID         `json:"release"`         // the newest release with the fix
	Processes []ProcessExposure `json:"processes,omitempty"`
}

// ProcessExposure is one process in an Exposure.
type ProcessExposure struct {
	PID     int            `json:"pid"`
	Started uint64         `json:"started"`
	Root    string         `json:"root,omitempty"`
	Exe     string         `json:"exe,omitempty"`
	Unit    string         `json:"unit,omitempty"`
	Status  ExposureStatus `json:"status"` // fixed-on-disk: it runs the fixed file; fixed-in-memory: patched; exposed; undetermined
	Bundle  Digest         `json:"bundle,omitempty"`
	Why     string         `json:"why,omitempty"`
}

// Action is what is due.
type Action string

const (
	DoRestart Action = "restart"  // a restart that is pending; always the first
	DoRevert  Action = "revert"   // take back a recalled release
	DoApply   Action = "apply"    // a hotpatch, companion or approved outside release
	DoRebase  Action = "rebase"   // install a baseline and restart
	DoCatchUp Action = "catch-up" // rebase, then the latest hotpatch
)

// Due is one thing to be done and when it may be. Nothing is due before the
// instant At; where Blocked says why, it may not be done at all and is only
// reported.
type Due struct {
	Action   Action          `json:"action"`
	Release  ReleaseID       `json:"release,omitempty"`
	Content  Digest          `json:"content,omitempty"` // of the release: what was assessed is what may be installed
	Why      string          `json:"why"`
	Restarts []string        `json:"restarts,omitempty"` // units it restarts; empty: none
	Deadline time.Time       `json:"deadline,omitzero"`
	At       time.Time       `json:"at,omitzero"`      // from when on; zero: Blocked
	Window   *window.Opening `json:"window,omitempty"` // inside which; nil: needs none
	Blocked  Block           `json:"blocked,omitempty"`
}

// Block is why something due is not done.
type Block string

const (
	WindowExceeded Block = "window-exceeded" // it does not fit into what is left of the window; At is the next that it may fit
	NoWindow       Block = "no-window"       // it needs a window and the policy has none: never done by itself
	IsSuspended    Block = "suspended"
	CatalogStale   Block = "catalog-expired" // an expired word starts nothing
)

// Now says whether it may be started at now.
func (d *Due) Now(now time.Time) bool {
	return d.Blocked == "" && !d.At.IsZero() && !d.At.After(now) && (d.Window == nil || now.Before(d.Window.End))
}

// Offer is a release that this machine may install.
type Offer struct {
	Release  ReleaseID `json:"release"`
	Content  Digest    `json:"content"`
	Kind     Kind      `json:"kind"`
	Effect   Effect    `json:"effect"`
	Why      string    `json:"why"`
	Restarts []string  `json:"restarts,omitempty"`
	Override string    `json:"override,omitempty"` // approver of the override it is offered by
}

// Reason codes of what is withheld.
const (
	WouldEject    = "would-eject"
	OverrideVoid  = "override-void"
	NotInScope    = "not-in-scope"
	OtherBaseline = "other-baseline"
	IsSuperseded  = "superseded"
	InPlace       = "in-place"
	NotRelevant   = "not-relevant"
	NotInProgram  = "not-in-program" // hotpatches and companions, on a machine that is not enrolled
	Unapproved    = "unapproved"     // outside the program
	Unreleased    = "unreleased"     // draft … approved, not yet available
	IsPaused      = "paused"
	IsRecalled    = "recalled"
	Excluded      = "excluded"
	Expired       = "catalog-expired"
	OnHold        = "suspended"
	NotEligible   = "ineligible"
)

// Withheld is a release that this machine may not install, and why.
type Withheld struct {
	Release ReleaseID `json:"release"`
	Kind    Kind      `json:"kind"`
	Code    string    `json:"code"`
	Why     string    `json:"why"`
	Instead ReleaseID `json:"instead,omitempty"` // the neutral alternative
}

// Offer finds a release among the offers, nil when it is not there.
func (a *Assessment) Offer(id ReleaseID) *Offer {
	for i := range a.Offers {
		if a.Offers[i].Release == id {
			return &a.Offers[i]
		}
	}
	return nil
}
