package catalog

import "time"

// Restart is one that is expected.
type Restart struct {
	At      time.Time `json:"at"` // the window's opening where there is one, else when the release is available
	Why     string    `json:"why"`
	Release ReleaseID `json:"release,omitempty"`
	Month   string    `json:"month"`
	Planned bool      `json:"planned"`             // follows from the plan: not published yet
	NoFit   bool      `json:"no_window,omitempty"` // no window: it will be reported, not made
}

// Outlook is the restarts of the next 12 months, with and without enrolment.
type Outlook struct {
	Host    string    `json:"host"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	With    []Restart `json:"with"`
	Without []Restart `json:"without"`
}
