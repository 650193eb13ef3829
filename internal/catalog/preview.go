package catalog

import "time"

// Preview is what approving a release would do to a set of machines. The
// lists hold host names, sorted.
type Preview struct {
	OnTrack              int       `json:"on_track"`               // machines on the track that stay on it
	WouldEject           []string  `json:"would_eject"`            // machines that would leave it
	ExtraRestartsUntil   time.Time `json:"extra_restarts_until"`   // the baseline at which those rejoin; zero: nobody is ejected
	RestartNow           []string  `json:"restart_now"`            // machines on which it restarts something
	NeutralAlternative   ReleaseID `json:"neutral_alternative"`    // the same fix that ejects nobody; empty: there is none
	VulnerableIfDeferred []string  `json:"vulnerable_if_deferred"` // machines that stay exposed to something it fixes
	OutsideWindow        []string  `json:"outside_window"`         // machines that need a window and have none before the deadline
}

// Machine is one of the machines that a preview is about.
type Machine struct {
	Inventory *Inventory
	Enrolment Enrolment
	Policy    Policy
}
