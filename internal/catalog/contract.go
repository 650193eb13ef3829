package catalog

import (
	"errors"
	"time"
)

var errNotYet = errors.New("not written yet")

// Assess says everything that can be said of a machine at now: where it
// stands, what it is exposed to, what is due, what it is offered and what not.
// Nothing in it ever asks for a restart outside a window (invariant 8).
func Assess(inv *Inventory, c *Catalog, e Enrolment, p *Policy, now time.Time) *Assessment {
	panic(errNotYet)
}

// Gates lists every unmet condition of eligibility, each with its remedy.
func (c *Catalog) Gates(inv *Inventory) []Gate { panic(errNotYet) }

// Position measures which baseline, hotpatch and companions a machine matches.
func (c *Catalog) Position(inv *Inventory, now time.Time) Position { panic(errNotYet) }

// Step is one of the three times at which an offer is checked again.
type Step string

const (
	AtDownload Step = "download"
	AtStaging  Step = "staging"
	AtInstall  Step = "installation"
)

// Refusal is a release that may not go on, and why.
type Refusal struct {
	Step    Step
	Release ReleaseID
	Code    string // of Withheld, or "content-changed"
	Why     string
}

func (r *Refusal) Error() string {
	return string(r.Step) + " of " + string(r.Release) + " refused: " + r.Why
}

// Recheck looks again, with a fresh assessment, whether a release with this
// content may still go on. The error is a *Refusal.
func (a *Assessment) Recheck(step Step, id ReleaseID, content Digest) error { return errNotYet }

// Mismatch is one way in which a machine does not match what was applied.
type Mismatch struct {
	Package string `json:"package"`
	PID     int    `json:"pid,omitempty"` // 0: on disk
	Path    string `json:"path,omitempty"`
	Want    string `json:"want"`
	Have    string `json:"have"`
}

// Verify compares what was measured after applying, or after a restart, with
// what the release promises: every package on disk (unless memoryOnly) and
// every process in memory. Empty: it is in place.
func (c *Catalog) Verify(inv *Inventory, id ReleaseID, memoryOnly bool) ([]Mismatch, error) {
	return nil, errNotYet
}

// Preview says what approving a release would do to these machines.
func (c *Catalog) Preview(id ReleaseID, machines []Machine, now time.Time) (Preview, error) {
	return Preview{}, errNotYet
}

// Digest binds a preview to the release and content that it was made of.
func (p *Preview) Digest(id ReleaseID, content Digest) Digest { panic(errNotYet) }

// Approve makes the override that lets a release eject the machines of its
// preview. Everything is needed: an approver, a reason, exactly the machines
// that the preview lists, and the digest of the preview that was accepted.
func (c *Catalog) Approve(id ReleaseID, accepted Preview, digest Digest, machines []string, approver, reason string, now time.Time) (Override, error) {
	return Override{}, errNotYet
}

// Covers says whether the override lets the release r eject host at now; the
// error says why not. The agent asks this by itself.
func (o *Override) Covers(r *Release, host string, now time.Time) error { return errNotYet }

// Against voids the override when the machines that would be ejected today are
// more than those it names. It returns the override as it is to be published.
func (o Override) Against(today Preview) Override { panic(errNotYet) }

// Publishable says why a release may not be published; empty: it may. enrolled
// is how many enrolled machines are on the release's baseline.
func (c *Catalog) Publishable(id ReleaseID, enrolled int) []string { panic(errNotYet) }

// Incident is what narrowing the scope of a published release leaves behind.
type Incident struct {
	Release   ReleaseID `json:"release"`
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	From      Scope     `json:"from"`
	To        Scope     `json:"to"`
	Machines  []string  `json:"machines"` // no longer in scope
	Installed []string  `json:"installed"`
	Staged    []string  `json:"staged"`
	Exposed   []string  `json:"exposed"`
	Ejected   []string  `json:"ejected"` // of Installed: those now off the track
}

// Narrow changes the scope of a release. When the release has been published
// and some machine falls out, an incident comes with it.
func (c *Catalog) Narrow(id ReleaseID, to Scope, machines []Machine, by, reason string, now time.Time) (Release, *Incident, error) {
	return Release{}, nil, errNotYet
}

// Change is what the calendar's change asks others to do.
type CalendarChange struct {
	Row      Row       `json:"row"`
	Replaced *Row      `json:"replaced,omitempty"` // the hotpatch whose place it takes
	Notice   string    `json:"notice"`             // one sentence, for everybody
	Deadline time.Time `json:"deadline"`
}

// Publish enters a release into the calendar: the planned row of its month
// becomes real. An unplanned baseline takes the place of its month's hotpatch
// and needs a deadline; the change says both (invariant 9).
func (k Calendar) Publish(r *Release) (Calendar, CalendarChange, error) {
	return k, CalendarChange{}, errNotYet
}

// Plan adds planned rows for the months after the last row, to the end of
// until's month.
func (k Calendar) Plan(until time.Time) Calendar { panic(errNotYet) }

// NextBaseline is the first baseline row, real or planned, after t.
func (k Calendar) NextBaseline(t time.Time) (Row, bool) { return Row{}, false }

func (k *Calendar) sort() {}

// Forecast lists the restarts of the 12 months from now on.
func Forecast(inv *Inventory, c *Catalog, e Enrolment, p *Policy, now time.Time) Outlook {
	panic(errNotYet)
}

// WhyRestart says in one sentence why this machine will restart, and when.
func WhyRestart(a *Assessment) string { panic(errNotYet) }

// Decode reads a catalogue: strictly, within bounds, and checked.
func Decode(data []byte) (*Catalog, error) { return nil, errNotYet }

// Encode writes the one encoding that a catalogue has.
func (c *Catalog) Encode() ([]byte, error) { return nil, errNotYet }

// DecodeInventory, DecodeEnrolment, DecodePolicy, DecodeAssessment,
// DecodeOverride, DecodeRelease, DecodeRun: likewise. EncodeJSON writes any of them.
func DecodeInventory(data []byte) (*Inventory, error)   { return nil, errNotYet }
func DecodeEnrolment(data []byte) (*Enrolment, error)   { return nil, errNotYet }
func DecodePolicy(data []byte) (*Policy, error)         { return nil, errNotYet }
func DecodeAssessment(data []byte) (*Assessment, error) { return nil, errNotYet }
func DecodeOverride(data []byte) (*Override, error)     { return nil, errNotYet }
func DecodeRelease(data []byte) (*Release, error)       { return nil, errNotYet }
func DecodeRun(data []byte) (*Run, error)               { return nil, errNotYet }

// EncodeJSON is how everything of this package is written: indented by two
// spaces, in the order of the struct, newline at the end.
func EncodeJSON(v any) ([]byte, error) { return nil, errNotYet }

// May says whether a run may go from one state to another.
func (s RunState) May(next RunState) bool { return false }

// Conclude ends a run: failed items or a failed restart make it failed,
// warnings and items that stay behind make it completed-with-warnings.
func (r Run) Conclude(now time.Time) Run { return r }
