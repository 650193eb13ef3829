package catalog

import (
	"time"

	"hotpatch/internal/window"
)

// When is the policy for releases that need no restart.
type When string

const (
	AtOnce   When = "at-once"
	InWindow When = "in-window"
)

// DiskMode says whether packages on disk are replaced.
type DiskMode string

const (
	DiskFirst  DiskMode = "disk-first"  // fixed packages on disk, then processes
	MemoryOnly DiskMode = "memory-only" // containers, pinned images: the disk stays
)

// Policy is what a machine's owner decided. The zero Policy applies nothing
// with a restart (no window) and hotpatches at once.
type Policy struct {
	Windows    window.Schedule `json:"windows,omitempty"`
	Hotpatches When            `json:"hotpatches,omitempty"` // "": at-once
	Disk       DiskMode        `json:"disk,omitempty"`       // "": disk-first
	Ring       int             `json:"ring,omitempty"`       // releases in an earlier ring than this are not for the machine; 0: every ring is
	Exclude    []string        `json:"exclude,omitempty"`    // packages that are left alone; shown, never hidden
	Outside    []ReleaseID     `json:"outside,omitempty"`    // releases outside the program that were approved here
	PerItem    Duration        `json:"per_item,omitempty"`   // average per package or process; "": 1m
	Rebase     ReleaseID       `json:"rebase,omitempty"`     // "rebase now" was asked for: to this baseline, in the next window
}

// Duration is a length of time, written "1m30s".
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

func (p *Policy) each() time.Duration {
	if p.PerItem <= 0 {
		return time.Minute
	}
	return time.Duration(p.PerItem)
}
