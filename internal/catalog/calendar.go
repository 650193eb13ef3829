package catalog

import "time"

// Type is the letter of a calendar row.
type Type string

const (
	TypeBaseline  Type = "B"
	TypeUnplanned Type = "U"
	TypeHotpatch  Type = "H"
	TypeCold      Type = "C"
	TypeCompanion Type = "N"
)

// Calendar is the months of a channel, past and planned.
type Calendar struct {
	Name    string  `json:"name"`
	Cadence Cadence `json:"cadence"`
	Rows    []Row   `json:"rows"` // by Date, then Type
}

// Cadence is the plan: baselines in some months, hotpatches in the others, on
// one weekday of the month.
type Cadence struct {
	Baselines []int  `json:"baselines"` // months: 1, 4, 7, 10
	Day       string `json:"day"`       // "2TU": the second Tuesday
	Hour      int    `json:"hour"`      // UTC
}

// Row is one release, or a plan for one.
type Row struct {
	Month     string    `json:"month"`  // "2025-10"
	Update    string    `json:"update"` // "2025.10 baseline"
	Type      Type      `json:"type"`
	Available time.Time `json:"available"`
	Build     string    `json:"build,omitempty"`
	Article   string    `json:"article,omitempty"`
	Release   ReleaseID `json:"release,omitempty"`
	Planned   bool      `json:"planned,omitempty"`  // in the future, not published
	Replaces  string    `json:"replaces,omitempty"` // on an unplanned baseline: Update of the hotpatch whose place it takes
}
