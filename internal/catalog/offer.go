package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Offer is a release that this machine may install.
type Offer struct {
	Release  ReleaseID `json:"release"`
	Content  Digest    `json:"content"` // what was assessed is what may be installed
	Kind     Kind      `json:"kind"`
	Effect   Effect    `json:"effect"`
	Why      string    `json:"why"`
	Restarts []string  `json:"restarts,omitempty"` // units it restarts
	Override string    `json:"override,omitempty"` // approver of the override it is offered by
}

// Withheld is a release that this machine may not install, and why.
type Withheld struct {
	Release ReleaseID `json:"release"`
	Kind    Kind      `json:"kind"`
	Code    string    `json:"code"`
	Why     string    `json:"why"`
	Instead ReleaseID `json:"instead,omitempty"` // what to take in its place
}

// Codes of what is withheld.
const (
	WouldEject    = "would-eject" // from the track, on a machine on the program
	NotInScope    = "not-in-scope"
	NotInRing     = "not-in-ring"    // its ring has not come yet
	OtherBaseline = "other-baseline" // it goes on top of another baseline than the machine's
	NotOnTrack    = "not-on-track"   // the machine is off the track: what is on top of a baseline does not fit
	IsSuperseded  = "superseded"
	InPlace       = "in-place"
	NotRelevant   = "not-relevant"   // the machine has none of its packages
	NotInProgram  = "not-in-program" // hotpatches and companions, on a machine that is not enrolled
	Unapproved    = "unapproved"     // outside the program, and not approved here
	Unreleased    = "unreleased"     // not available yet, or in no ring
	IsPaused      = "paused"
	IsRecalled    = "recalled"
	Expired       = "catalog-expired"
	OnHold        = "suspended"
	NotEligible   = "ineligible" // a gate is unmet
)

// offers sorts every release into offered and withheld.
func (s *assessor) offers() {
	for i := range s.c.Releases {
		r := &s.c.Releases[i]
		w := s.withhold(r)
		if w == nil {
			s.a.Offers = append(s.a.Offers, s.offer(r))
			continue
		}
		w.Release, w.Kind = r.ID, r.Kind
		s.a.Withheld = append(s.a.Withheld, *w)
	}
}

func (s *assessor) offer(r *Release) Offer {
	o := Offer{Release: r.ID, Content: r.Content(), Kind: r.Kind, Effect: s.effect(r, s.inv), Restarts: s.restarts(r)}
	switch {
	case o.Effect == Ejects && s.e.Intent.OnProgram():
		v, _ := s.override(r)
		o.Override = v.Approver
		o.Why = fmt.Sprintf("%s approved that it ejects this machine: %s", v.Approver, v.Reason)
	case len(r.CVEs()) > 0:
		o.Why = fmt.Sprintf("it fixes %s", some(r.CVEs(), 3))
	default:
		o.Why = fmt.Sprintf("it is the latest %s", r.Kind)
	}
	return o
}

// some names the first n of a list, and counts the others.
func some(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

// withhold says why a release is not offered; nil: it is.
func (s *assessor) withhold(r *Release) *Withheld {
	for _, rule := range []func(*Release) *Withheld{s.notOut, s.notHere, s.ejecting, s.notFitting, s.notNeeded} {
		if w := rule(r); w != nil {
			return w
		}
	}
	return nil
}

// notOut: the release itself does not reach anybody now.
func (s *assessor) notOut(r *Release) *Withheld {
	switch {
	case r.Life.State == Recalled:
		return &Withheld{Code: IsRecalled, Why: "it was recalled: " + r.Life.Reason}
	case r.Life.State == Paused:
		return &Withheld{Code: IsPaused, Why: "it is paused: " + r.Life.Reason}
	case r.Available.After(s.now):
		return &Withheld{Code: Unreleased, Why: "it is available from " + r.Available.UTC().Format("2006-01-02 15:04 MST") + " on"}
	case !r.Offerable(s.now):
		return &Withheld{Code: Unreleased, Why: fmt.Sprintf("it is %s", r.Life.State)}
	case s.c.Stale(s.now):
		return &Withheld{Code: Expired, Why: "the catalogue expired " + s.c.Expires.UTC().Format("2006-01-02 15:04 MST")}
	}
	return nil
}

// notHere: the release does not mean this machine.
func (s *assessor) notHere(r *Release) *Withheld {
	switch {
	case !r.Scope.Includes(s.inv):
		return &Withheld{Code: NotInScope, Why: "this machine is not in its scope"}
	case r.Life.State == InRing && r.Life.Ring < s.policy.Ring:
		return &Withheld{Code: NotInRing, Why: fmt.Sprintf("it is in ring %d, this machine is of ring %d", r.Life.Ring, s.policy.Ring)}
	case !s.relevant(r):
		return &Withheld{Code: NotRelevant, Why: "none of its packages is installed, or the policy leaves them alone"}
	}
	return nil
}

// ejecting is invariant 1. It stands before all that asks whether a release
// fits: a machine on the program is protected wherever it is.
func (s *assessor) ejecting(r *Release) *Withheld {
	if !s.e.Intent.OnProgram() || s.effect(r, s.inv) != Ejects {
		return nil
	}
	_, err := s.override(r)
	if err == nil {
		return nil
	}
	w := &Withheld{Code: WouldEject, Why: fmt.Sprintf("it would eject this machine from the hotpatch track, and %v", err)}
	if alt := s.c.Alternative(r); alt != nil && alt.Offerable(s.now) {
		w.Instead = alt.ID
		w.Why += fmt.Sprintf("; %s has the same fix and keeps it there", alt.label())
	}
	return w
}

// override finds the one that covers this machine.
func (s *assessor) override(r *Release) (*Override, error) {
	why := fmt.Errorf("no override covers it")
	for i := range s.c.Overrides {
		o := &s.c.Overrides[i]
		if o.Release != r.ID {
			continue
		}
		err := o.Covers(r, s.inv.Host, s.now)
		if err == nil {
			return o, nil
		}
		why = err
	}
	return &Override{}, why
}

// Alternative is the companion or hotpatch that has the fix of a cold release
// and ejects nobody, nil when there is none. A published one comes first.
func (c *Catalog) Alternative(cold *Release) *Release {
	var best *Release
	for i := range c.Releases {
		r := &c.Releases[i]
		if r.Fixes != cold.ID || cold.ID == "" || r.Kind != Companion && r.Kind != Hotpatch || r.Life.State == Recalled {
			continue
		}
		if best == nil || !best.published() && r.published() {
			best = r
		}
	}
	return best
}

func (r *Release) published() bool { return r.Life.State == InRing || r.Life.State == Complete }

// notFitting: this machine could not take it.
func (s *assessor) notFitting(r *Release) *Withheld {
	onTop := r.Kind == Hotpatch || r.Kind == Companion
	switch {
	case onTop && !s.e.Intent.OnProgram():
		return &Withheld{Code: NotInProgram, Why: "this machine is not enrolled: it is updated the ordinary way"}
	case s.e.Intent == Suspended:
		return &Withheld{Code: OnHold, Why: "the enrolment is suspended"}
	case onTop && len(s.a.Gates) > 0:
		return &Withheld{Code: NotEligible, Why: s.a.Gates[0].What, Instead: ""}
	case onTop && s.off != nil:
		return &Withheld{Code: NotOnTrack, Why: "this machine is off the track: " + s.off.Cause, Instead: s.off.Rebase.Baseline}
	case onTop && r.Baseline != s.a.Position.Baseline:
		return &Withheld{Code: OtherBaseline, Why: fmt.Sprintf("it goes on top of %s, this machine is on %s",
			r.Baseline, cmp.Or(string(s.a.Position.Baseline), "no baseline"))}
	case r.Kind == Outside && s.e.Intent.OnProgram() && !slices.Contains(s.policy.Outside, r.ID) && s.effect(r, s.inv) != Ejects:
		return &Withheld{Code: Unapproved, Why: "it is outside the program, and nobody approved it here"}
	}
	return nil
}

// notNeeded: the machine has it, or gets something better.
func (s *assessor) notNeeded(r *Release) *Withheld {
	if s.off != nil && r.ID == s.off.Rebase.Baseline {
		return nil // the way back is open, whatever the machine looks like
	}
	if s.holds(r) {
		return &Withheld{Code: InPlace, Why: "it is in place"}
	}
	if r.Kind == Baseline && s.e.Intent.OnProgram() && s.olderBaseline(r) {
		return &Withheld{Code: IsSuperseded, Why: "this machine is on a newer baseline", Instead: s.a.Position.Baseline}
	}
	for i := range slices.Backward(s.c.Releases) {
		if n := &s.c.Releases[i]; n.supersedes(r) && s.wouldOffer(n) {
			return &Withheld{Code: IsSuperseded, Why: fmt.Sprintf("%s has all of it and more", n.label()), Instead: n.ID}
		}
	}
	return nil
}

func (s *assessor) olderBaseline(r *Release) bool {
	b := s.c.Release(s.a.Position.Baseline)
	return b != nil && r.Available.Before(b.Available)
}

// wouldOffer: nothing stands against n but that something is newer still, or
// that the machine has it.
func (s *assessor) wouldOffer(n *Release) bool {
	return s.notOut(n) == nil && s.notHere(n) == nil && s.ejecting(n) == nil && s.notFitting(n) == nil
}

// holds says whether the machine has the release.
func (s *assessor) holds(r *Release) bool {
	switch r.Kind {
	case Baseline:
		return s.off == nil && r.ID == s.a.Position.Baseline
	case Hotpatch, Companion:
		b := s.c.Release(r.Baseline)
		if b == nil || r.Baseline != s.a.Position.Baseline {
			return false
		}
		track := s.track(b)
		i := slices.Index(track, r)
		return i >= 0 && s.inPlace(r, track[i:])
	}
	return s.inPlace(r, []*Release{r})
}
