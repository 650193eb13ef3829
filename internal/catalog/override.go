package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Override lets a release that ejects reach machines on the program: by name,
// with somebody who answers for it (invariant 2).
type Override struct {
	Release  ReleaseID `json:"release"`
	Content  Digest    `json:"content"` // of the release that was previewed
	Approver string    `json:"approver"`
	Reason   string    `json:"reason"`
	Machines []string  `json:"machines"` // sorted: those, and no others
	Accepted Preview   `json:"accepted"` // what the approver saw
	Preview  Digest    `json:"preview"`  // its digest, which the approver accepted
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"` // zero: as long as it is published
	Void     string    `json:"void,omitempty"` // why it no longer holds
}

// Approve makes the override for the machines that a preview would eject.
// Everything is needed: who, why, exactly those machines, and the digest of
// the preview that was read.
func (c *Catalog) Approve(id ReleaseID, accepted Preview, digest Digest, machines []string, approver, reason string, now time.Time) (Override, error) {
	r := c.Release(id)
	if r == nil {
		return Override{}, unknownRelease(id)
	}
	o := Override{Release: id, Content: r.Content(), Approver: approver, Reason: reason, At: now,
		Machines: slices.Compact(slices.Sorted(slices.Values(machines))), Accepted: accepted, Preview: digest}
	if err := o.complete(); err != nil {
		return Override{}, fmt.Errorf("approve %s: %w", id, err)
	}
	return o, nil
}

// complete is all that can be said of an override by itself.
func (o *Override) complete() error {
	switch {
	case strings.TrimSpace(o.Approver) == "":
		return errors.New("the override names no approver")
	case strings.TrimSpace(o.Reason) == "":
		return errors.New("the override gives no reason")
	case len(o.Machines) == 0:
		return errors.New("the override lists no machine")
	case o.Preview != o.Accepted.Digest(o.Release, o.Content):
		return errors.New("the override's digest is not that of the preview it accepts")
	case !slices.Equal(o.Machines, slices.Sorted(slices.Values(o.Accepted.WouldEject))):
		return errors.New("the override's machines are not those of the preview it accepts")
	}
	return nil
}

// Covers says whether the override lets release r eject a machine at now; the
// error says why not. An agent asks this by itself, whatever a server says: a
// machine that was not on the list can never come under an override, however
// the set of machines grew.
func (o *Override) Covers(r *Release, host string, now time.Time) error {
	if err := o.complete(); err != nil {
		return err
	}
	switch {
	case o.Void != "":
		return fmt.Errorf("the override is void: %s", o.Void)
	case o.Release != r.ID:
		return fmt.Errorf("the override is for %s", o.Release)
	case o.Content != r.Content():
		return errors.New("the override was given for other content of this release")
	case !slices.Contains(o.Machines, host):
		return errors.New("the override does not list this machine")
	case now.Before(o.At):
		return errors.New("the override is not in force yet")
	case !o.Until.IsZero() && !now.Before(o.Until):
		return errors.New("the override has expired")
	}
	return nil
}

// Against voids the override when more machines would be ejected today than
// it names: somebody has to look again. It returns the override as it is to be
// published; a void one stays void.
func (o Override) Against(today Preview) Override {
	var more []string
	for _, m := range today.WouldEject {
		if !slices.Contains(o.Machines, m) {
			more = append(more, m)
		}
	}
	if o.Void == "" && len(more) > 0 {
		o.Void = fmt.Sprintf("the set of machines grew by %s", some(more, 3))
	}
	return o
}
