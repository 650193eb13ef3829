package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"hotpatch/internal/catalog"
)

// Status is how the host stands, in short.
type Status struct {
	Host       string             `json:"host"`
	At         time.Time          `json:"at"` // of the assessment; zero: none yet
	Intent     catalog.Intent     `json:"intent"`
	Track      catalog.Track      `json:"track"`
	Words      string             `json:"words"` // Track in one sentence
	Gates      []catalog.Gate     `json:"gates"`
	State      catalog.Digest     `json:"state"` // identity of what is on disk and in memory
	Exposed    []catalog.Exposure `json:"exposed"`
	Due        []catalog.Due      `json:"due"`
	Withheld   []catalog.Withheld `json:"withheld"`
	Run        *catalog.Run       `json:"run"` // the one that goes on
	Bars       []Bar              `json:"bars"`
	Watched    int                `json:"watched"` // processes that soak
	Repository RepositoryStatus   `json:"repository"`
	Policy     string             `json:"policy,omitempty"`  // why the policy on disk is not in force
	Trouble    string             `json:"trouble,omitempty"` // what the last round ended with
	Counts     map[string]int     `json:"counts"`            // exposures by status
}

// RepositoryStatus is what is known of the source of releases.
type RepositoryStatus struct {
	Address string    `json:"address"`
	Channel string    `json:"channel"`
	Fetched time.Time `json:"fetched"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// ErrNotAssessed: the host has not been looked at yet.
var ErrNotAssessed = errors.New("this host has not been assessed yet")

// Status answers at once, from the last assessment.
func (a *Agent) Status() (*Status, error) {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	e, err := a.journal.Enrolment()
	if err != nil {
		return nil, err
	}
	s := &Status{Intent: e.Intent, Run: v.run, Counts: map[string]int{}}
	s.Repository = RepositoryStatus{Address: v.policy.Repository, Channel: v.policy.Channel, Fetched: v.fetched}
	if v.catalog != nil {
		s.Repository.Issued, s.Repository.Expires = v.catalog.Issued, v.catalog.Expires
	}
	if v.repoErr != nil {
		s.Repository.Error = v.repoErr.Error()
	}
	if v.policyErr != nil {
		s.Policy = v.policyErr.Error()
	}
	if v.trouble != nil {
		s.Trouble = strings.ReplaceAll(v.trouble.Error(), "\n", "; ")
	}
	if s.Bars, err = a.journal.Bars(); err != nil {
		return nil, err
	}
	watched, err := a.journal.Soaking(a.world.Now())
	if err != nil {
		return nil, err
	}
	s.Watched = len(watched)
	as := v.assessment
	if as == nil {
		s.Words = ErrNotAssessed.Error()
		return s, nil
	}
	s.Host, s.At, s.Track, s.Gates, s.State = as.Host, as.At, as.Track, as.Gates, as.State.ID
	s.Due, s.Withheld, s.Words = as.Due, as.Withheld, trackWords(&as.Track)
	for _, x := range as.Exposure {
		s.Counts[string(x.Status)]++
		if x.Status == catalog.Exposed || x.Status == catalog.Undetermined {
			s.Exposed = append(s.Exposed, x)
		}
	}
	return s, nil
}

// Assessment is the last one.
func (a *Agent) Assessment() (*catalog.Assessment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view.assessment == nil {
		return nil, ErrNotAssessed
	}
	return a.view.assessment, nil
}

// ErrWorking: the agent is in the middle of something.
var ErrWorking = errors.New("the agent is at work; what is asked for happens by itself afterwards")

// patience is how long somebody who asks for an assessment waits for work that
// goes on.
const patience = 30 * time.Second

// Look assesses now and does nothing else. While the agent works it waits a
// while, and then answers ErrWorking.
func (a *Agent) Look(ctx context.Context) (*catalog.Assessment, error) {
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end, err := a.begin(soon)
	if err != nil {
		return nil, errors.Join(ErrWorking, ctx.Err())
	}
	defer end()
	a.reread()
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	return a.assess(ctx)
}

// WhyRestart says in one sentence why this host will restart, or that it will
// not.
func (a *Agent) WhyRestart() (string, error) {
	as, err := a.Assessment()
	if err != nil {
		return "", err
	}
	return catalog.WhyRestart(as), nil
}

// Forecast is the restarts of the next twelve months.
func (a *Agent) Forecast() (*catalog.Outlook, error) {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	if v.inventory == nil || v.catalog == nil {
		return nil, ErrNotAssessed
	}
	e, err := a.journal.Enrolment()
	if err != nil {
		return nil, err
	}
	rules, err := a.rules(v.policy)
	if err != nil {
		return nil, err
	}
	o := catalog.Forecast(v.inventory, v.catalog, e, &rules, a.world.Now())
	return &o, nil
}

// Wanted is what is wanted of this host after it was asked for. Already: nobody
// had to change anything, and since when and by whom are those of the time when
// it was first asked for.
type Wanted struct {
	catalog.Enrolment
	Already bool `json:"already"`
}

// Enrol changes what is wanted of this host; by is who wants it. It takes
// effect at once: work that goes on ends before its next process or restart.
// What is wanted already is no change, nor is it to enrol a host that is
// enrolled: that is what becomes of a pending one.
func (a *Agent) Enrol(to catalog.Intent, by string) (Wanted, error) {
	var was catalog.Intent
	var w Wanted
	next, err := a.change(func(e *catalog.Enrolment) (err error) {
		was = e.Intent
		if w.Already = was == to || to == catalog.Pending && was == catalog.Enrolled; w.Already {
			return nil
		}
		*e, err = e.Request(to, by, a.world.Now())
		return err
	})
	w.Enrolment = next
	if err != nil || w.Already {
		return w, err
	}
	a.note(Event{Kind: EnrolmentChanged, Text: fmt.Sprintf("%s: %s instead of %s", by, next.Intent, was)})
	a.Wake()
	return w, nil
}

// Rebase asks for a baseline to be taken in the next window, without waiting
// for its time; "" takes the newest.
func (a *Agent) Rebase(to catalog.ReleaseID, by string) (catalog.ReleaseID, error) {
	a.mu.Lock()
	c := a.view.catalog
	a.mu.Unlock()
	if c == nil {
		return "", ErrNotAssessed
	}
	all := c.Baselines(a.world.Now())
	for i := len(all) - 1; i >= 0; i-- {
		if to != "" && all[i].ID != to {
			continue
		}
		if err := a.journal.PutRebase(all[i].ID); err != nil {
			return "", err
		}
		a.note(Event{Kind: RebaseAsked, Release: all[i].ID, Text: fmt.Sprintf("%s: rebase to %s in the next window", by, all[i].ID)})
		a.Wake()
		return all[i].ID, nil
	}
	if to == "" {
		return "", errors.New("rebase: the catalogue has no baseline")
	}
	return "", fmt.Errorf("rebase: the catalogue has no baseline %.80q", to)
}

// LiftBar lets a release come back that did harm here.
func (a *Agent) LiftBar(id catalog.ReleaseID, by string) error {
	there, err := a.journal.DropBar(id)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("release %.80q is not barred here", id)
	}
	_, err = a.change(func(e *catalog.Enrolment) error {
		if e.Work != nil && e.Work.Release == id && e.Work.State == catalog.Failed {
			e.Work = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.tried(key(&catalog.Due{Action: catalog.DoApply, Release: id}), nil)
	a.note(Event{Kind: BarLifted, Release: id, Text: by + ": the release may be applied again"})
	a.Wake()
	return nil
}

// Policy is the one in force.
func (a *Agent) Policy() *Policy { return a.current() }

// Journal is where history is read.
func (a *Agent) Journal() *Journal { return a.journal }
