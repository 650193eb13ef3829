package catalog

import (
	"time"
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

// Assess says everything that can be said of a machine at now: where it
// stands, what it is exposed to, what is due, what it is offered and what not.
// Nothing in it asks for a restart outside a window (invariant 8), and nothing
// that ejects is offered to a machine on the program without an override
// (invariant 1).
func Assess(inv *Inventory, c *Catalog, e Enrolment, p *Policy, now time.Time) *Assessment {
	if p == nil {
		p = &Policy{}
	}
	if e.Intent == "" {
		e.Intent = NotEnrolled
	}
	v := c.index().view(inv, p, now)
	a := &Assessment{
		Format: Format, Host: inv.Host, At: now, Intent: e.Intent,
		Gates: v.gates(inv), Position: v.position(), State: StateOf(inv, c), Exposure: v.exposure(),
		Due: []Due{}, Offers: []Offer{}, Withheld: []Withheld{},
	}
	if !e.Intent.OnProgram() {
		a.Gates = append(a.Gates, joining(&a.Position)...)
	}
	s := &assessor{view: v, a: a, e: &e}
	if e.Intent.OnProgram() && !a.Position.OnTrack() {
		s.off = s.offTrack()
	}
	s.offers()
	s.dues()
	if e.Intent.OnProgram() {
		a.Track = s.trackState()
	}
	return a
}

// assessor is an assessment in the making.
type assessor struct {
	*view
	a   *Assessment
	e   *Enrolment
	off *OffTrack // nil: on the track, or not on the program
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

// Why is the reason for which a release is withheld, nil when it is not.
func (a *Assessment) Why(id ReleaseID) *Withheld {
	for i := range a.Withheld {
		if a.Withheld[i].Release == id {
			return &a.Withheld[i]
		}
	}
	return nil
}
