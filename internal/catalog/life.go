package catalog

import (
	"fmt"
	"slices"
	"time"
)

// LifeState is where a release is between being written and being everywhere.
type LifeState string

const (
	Draft     LifeState = "draft"
	Validated LifeState = "validated" // its artifacts were checked
	Previewed LifeState = "previewed" // somebody was shown what it does
	Approved  LifeState = "approved"  // somebody answers for it
	InRing    LifeState = "ring"      // Ring says which
	Complete  LifeState = "complete"
	Paused    LifeState = "paused"   // from any; Resume goes back
	Recalled  LifeState = "recalled" // from any; for good
)

// Life is a release's state. Every method returns the next one and leaves its
// receiver alone.
type Life struct {
	State  LifeState `json:"state"`
	Ring   int       `json:"ring,omitempty"`   // 1, 2, … while State is ring
	Was    LifeState `json:"was,omitempty"`    // paused: where Resume goes back to; recalled: how far it came
	Since  time.Time `json:"since,omitzero"`   // of State
	By     string    `json:"by,omitempty"`     // who made it so
	Reason string    `json:"reason,omitempty"` // of paused and recalled
}

// MaxRings bounds the rings of a release.
const MaxRings = 1000

// To moves a release forward by one: draft → validated → previewed → approved
// → ring (1) → complete. Paused, resumed and recalled releases go by Pause,
// Resume and Recall.
func (l Life) To(next LifeState, by string, now time.Time) (Life, error) {
	order := []LifeState{Draft, Validated, Previewed, Approved, InRing, Complete}
	from, to := slices.Index(order, l.State), slices.Index(order, next)
	if from < 0 || to != from+1 {
		return l, fmt.Errorf("move release: from %s to %s is no step", l.State, next)
	}
	if by == "" {
		return l, fmt.Errorf("move release to %s: nobody is named", next)
	}
	l = Life{State: next, Since: now, By: by}
	if next == InRing {
		l.Ring = 1
	}
	return l, nil
}

// NextRing widens a release by one ring.
func (l Life) NextRing(by string, now time.Time) (Life, error) {
	if l.State != InRing || l.Ring >= MaxRings {
		return l, fmt.Errorf("widen release: it is %s (ring %d)", l.State, l.Ring)
	}
	return Life{State: InRing, Ring: l.Ring + 1, Since: now, By: by}, nil
}

// Pause stops a release where it is.
func (l Life) Pause(by, reason string, now time.Time) (Life, error) {
	if l.State == Paused || l.State == Recalled || by == "" || reason == "" {
		return l, fmt.Errorf("pause release: it is %s, by %q because %q", l.State, by, reason)
	}
	return Life{State: Paused, Ring: l.Ring, Was: l.State, Since: now, By: by, Reason: reason}, nil
}

// Resume goes on where Pause stopped.
func (l Life) Resume(by string, now time.Time) (Life, error) {
	if l.State != Paused || by == "" {
		return l, fmt.Errorf("resume release: it is %s, by %q", l.State, by)
	}
	return Life{State: l.Was, Ring: l.Ring, Since: now, By: by}, nil
}

// Recall takes a release back, for good. Copies that were staged are to be
// purged (Purge).
func (l Life) Recall(by, reason string, now time.Time) (Life, error) {
	if l.State == Recalled || by == "" || reason == "" {
		return l, fmt.Errorf("recall release: it is %s, by %q because %q", l.State, by, reason)
	}
	was := l.State
	if was == Paused {
		was = l.Was
	}
	return Life{State: Recalled, Ring: l.Ring, Was: was, Since: now, By: by, Reason: reason}, nil
}

// Purge lists the staged releases whose copies have to go: recalled, unknown
// to the catalogue, or with other content than what was staged.
func (c *Catalog) Purge(staged map[ReleaseID]Digest) []ReleaseID {
	var out []ReleaseID
	for id, content := range staged {
		if r := c.Release(id); r == nil || r.Life.State == Recalled || r.Content() != content {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
