package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// Step is one of the three times at which an offer is checked again.
type Step string

const (
	AtDownload Step = "download"
	AtStaging  Step = "staging"
	AtInstall  Step = "installation"
)

// ContentChanged is the code of a refusal: the release is offered, but is no
// longer what was assessed.
const ContentChanged = "content-changed"

// Refusal is a release that may not go on, and why. Nothing was changed.
type Refusal struct {
	Step    Step
	Release ReleaseID
	Code    string // of Withheld, or ContentChanged
	Why     string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s of %s refused: %s", r.Step, r.Release, r.Why)
}

// Recheck looks again, in a fresh assessment, whether a release with this
// content may still go on (invariant 4). The error is a *Refusal.
func (a *Assessment) Recheck(step Step, id ReleaseID, content Digest) error {
	if o := a.Offer(id); o != nil {
		if o.Content != content {
			return &Refusal{step, id, ContentChanged, "its content is no longer what was assessed"}
		}
		return nil
	}
	if w := a.Why(id); w != nil {
		return &Refusal{step, id, w.Code, w.Why}
	}
	return &Refusal{step, id, Unreleased, "it is not in the catalogue"}
}

// Mismatch is one way in which a machine does not match a release.
type Mismatch struct {
	Package string `json:"package"`
	PID     int    `json:"pid,omitempty"` // 0: on disk
	Path    string `json:"path,omitempty"`
	Want    string `json:"want"`
	Have    string `json:"have"`
}

func (m Mismatch) String() string {
	where := "on disk"
	if m.PID != 0 {
		where = fmt.Sprintf("in process %d", m.PID)
	}
	return fmt.Sprintf("%s %s is %s, not %s", strings.TrimSpace(m.Package+" "+m.Path), where, m.Have, m.Want)
}

// Verify compares what was measured after applying, or after a restart, with
// what the release promises (invariant 10): every installed package on disk,
// but for memoryOnly, and every process in memory. A later release that
// carries it on is as good. Empty: it is in place.
func (c *Catalog) Verify(inv *Inventory, id ReleaseID, memoryOnly bool) ([]Mismatch, error) {
	r := c.Release(id)
	if r == nil {
		return nil, unknownRelease(id)
	}
	v := c.index().view(inv, nil, inv.Taken)
	later := []*Release{r}
	if b := c.Release(r.Baseline); b != nil && r.Kind != Cold {
		if track := v.track(b); slices.Contains(track, r) {
			later = track[slices.Index(track, r):]
		}
	} else if r.Kind == Baseline {
		later = append(later, v.track(r)[1:]...)
	}
	out := []Mismatch{}
	for _, a := range v.mine(r) {
		q := v.packages[a.Package]
		if memoryOnly && r.Kind != Baseline || a.matches(q) ||
			slices.ContainsFunc(later, func(l *Release) bool { return v.matches(l, q) }) {
			continue
		}
		out = append(out, onDisk(a, q))
	}
	for _, s := range v.behind(r, later) {
		want := "that of " + string(r.ID)
		if s.Bundle != "" {
			want = "patched by " + string(s.Bundle)
		}
		out = append(out, Mismatch{Package: s.Package, PID: s.PID, Path: s.Path, Want: want, Have: s.BuildID})
	}
	for i := range inv.Processes {
		if p := &inv.Processes[i]; p.Unknown != "" && p.Root == "" {
			out = append(out, Mismatch{PID: p.PID, Path: p.Exe, Want: "readable", Have: "unreadable: " + p.Unknown})
		}
	}
	return out, nil
}

func onDisk(a *Artifact, q *Package) Mismatch {
	m := Mismatch{Package: a.Package, Want: a.Fixed, Have: q.Version}
	if a.Fixed == q.Version {
		m.Want, m.Have = "content "+string(a.Digest())[:12], "other content with the same version"
	}
	for _, g := range a.Images {
		for _, d := range q.Images {
			if a.Fixed == q.Version && d.Path == g.Path && d.BuildID != g.Fixed {
				m.Path, m.Want, m.Have = g.Path, g.Fixed, d.BuildID
			}
		}
	}
	return m
}
