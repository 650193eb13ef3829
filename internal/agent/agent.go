// Package agent keeps one host on its track: it enrols, looks at the host now
// and then, stages what the catalogue offers, applies it when the policy's
// windows allow, verifies what is in memory afterwards, watches what it has
// patched, and keeps a journal of everything. It answers what is true of this
// host and why.
//
// What a release is and whether this host may have it is decided by package
// catalog, from what was measured: the agent asks it again before every step
// (download, staging, installation), whoever told it to go on. It refuses by
// itself what would eject the host.
//
// Everything the agent does to the world goes through the ports of world.go,
// so that each can fail in a test. The state on disk is the journal
// (journal.go); an agent that was killed anywhere goes on from there and from
// what it measures, never from what it remembers having wanted.
//
// One goroutine works at a time: Step and Look hold the lock of the work.
// Questions are answered from the last assessment while it goes on, and what
// the owner wants (Enrol, Rebase, LiftBar) is taken down at once: the work
// looks at it between two processes and before each restart.
package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"hotpatch/internal/catalog"
)

// Agent is the state machine of one host.
type Agent struct {
	world   World
	journal *Journal
	log     *slog.Logger
	policy  func() (*Policy, error) // reads it anew

	work    chan struct{} // holds a token while somebody works: Step, Look
	leaving time.Time     // when the host was told to start anew; guarded by work
	want    sync.Mutex    // held to read, change and write the enrolment

	mu    sync.Mutex // guards view and tries
	view  view
	tries map[string]try // what did not succeed in this life, by action and release
	wake  chan struct{}
}

// view is what questions are answered from.
type view struct {
	policy     *Policy
	policyErr  error // why the policy on disk is not the one in force
	catalog    *catalog.Catalog
	repoErr    error // why the catalogue is not newer
	fetched    time.Time
	inventory  *catalog.Inventory
	assessment *catalog.Assessment
	run        *catalog.Run // the one that goes on
	trouble    error        // what the last round ended with
}

// Options are what an agent is made of; all are needed.
type Options struct {
	World   World
	Journal *Journal
	Policy  func() (*Policy, error)
	Log     *slog.Logger
}

// New prepares an agent and remembers the last catalogue, assessment and good
// policy. Without a policy that was ever good it is an error.
func New(o Options) (*Agent, error) {
	a := &Agent{world: o.World, journal: o.Journal, log: o.Log, policy: o.Policy,
		work: make(chan struct{}, 1), wake: make(chan struct{}, 1), tries: map[string]try{}}
	var err error
	if a.view.policy, err = o.Journal.Policy(); err != nil {
		return nil, err
	}
	a.reread()
	if a.view.policy == nil {
		return nil, a.view.policyErr
	}
	if a.view.catalog, a.view.fetched, err = o.Journal.Catalog(); err != nil {
		return nil, err
	}
	if a.view.assessment, err = o.Journal.Assessment(); err != nil {
		return nil, err
	}
	return a, nil
}

// Run assesses and works until ctx ends: at the policy's interval with its
// jitter, when somebody asks, and while patched processes are being watched
// more often. Errors are kept in the journal and tried again, never fatal.
func (a *Agent) Run(ctx context.Context) error {
	for {
		if _, err := a.Step(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("step ended with an error", "err", err)
		}
		wait := a.pause()
		a.log.Debug("waiting", "for", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Wake makes Run look at once.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default: // it is about to
	}
}

// pause is how long Run waits: the interval and some of the jitter, or less
// when something is due earlier or patched processes are being watched.
func (a *Agent) pause() time.Duration {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	every := time.Duration(v.policy.Assess.Every)
	if j := time.Duration(v.policy.Assess.Jitter); j > 0 {
		every += rand.N(j)
	}
	now := a.world.Now()
	if watching, err := a.journal.Soaking(now); err == nil && len(watching) > 0 {
		every = min(every, watchEvery)
	}
	if v.assessment != nil {
		for _, d := range v.assessment.Due {
			if d.Blocked == "" && d.At.After(now) {
				every = min(every, d.At.Sub(now))
			}
		}
	}
	return max(every, time.Second)
}

// try is work that did not succeed, and when it is tried again.
type try struct {
	failures int
	after    time.Time
	err      error
}

// Work that did not succeed is tried again after this long, each time twice as
// long, but no longer than the last.
const (
	firstRetry = 30 * time.Second
	lastRetry  = time.Hour
)

func key(d *catalog.Due) string { return string(d.Action) + " " + string(d.Release) }

// tried notes how a piece of work ended; nil: well.
func (a *Agent) tried(what string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		delete(a.tries, what)
		return
	}
	t := a.tries[what]
	wait := lastRetry
	if t.failures < 7 {
		wait = min(lastRetry, firstRetry<<t.failures)
	}
	a.tries[what] = try{t.failures + 1, a.world.Now().Add(wait), err}
}

// waiting is why a piece of work is not tried again yet; nil: it may be.
func (a *Agent) waiting(what string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.tries[what]; ok && a.world.Now().Before(t.after) {
		return t.err
	}
	return nil
}

// begin waits until nobody else works.
func (a *Agent) begin(ctx context.Context) (end func(), err error) {
	select {
	case a.work <- struct{}{}:
		return func() { <-a.work }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// most is how many things one step does before it looks at the clock anew: a
// bound for what a catalogue that contradicts itself could make us do.
const most = 16

// Step is one round: read the policy, refresh the catalogue, drop staged
// copies that are not wanted any more, look after patched processes, measure,
// assess, and do what is due now. It returns the last assessment. Whatever goes
// wrong, patched processes are looked after.
func (a *Agent) Step(ctx context.Context) (*catalog.Assessment, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	as, err := a.step(ctx)
	a.mu.Lock()
	a.view.trouble = err
	a.mu.Unlock()
	return as, err
}

func (a *Agent) step(ctx context.Context) (*catalog.Assessment, error) {
	if a.world.Now().Sub(a.leaving) < leaveTime {
		return a.Assessment() // nothing new is begun on a host that goes down
	}
	a.reread()
	errs := []error{a.refresh(ctx)}
	a.mu.Lock()
	known := a.view.catalog != nil
	a.mu.Unlock()
	if !known {
		return nil, errors.Join(errs...)
	}
	unfinished := a.finishInterrupted(ctx)
	errs = append(errs, unfinished, a.lookAfter(ctx))
	as, err := a.assess(ctx)
	if err == nil {
		err = a.restartMatched(as)
	}
	errs = append(errs, err)
	if err != nil || unfinished != nil {
		return as, errors.Join(errs...)
	}
	return a.workOff(ctx, as, errs)
}

// leaveTime is how long a host may take to go down before it counts as one that
// did not.
const leaveTime = 15 * time.Minute

// workOff does what is due now, one after the other.
func (a *Agent) workOff(ctx context.Context, as *catalog.Assessment, errs []error) (*catalog.Assessment, error) {
	barred, err := a.barred()
	if err != nil {
		return as, errors.Join(append(errs, err)...)
	}
	done := map[string]bool{} // what was tried in this step is not tried again
	for range most {
		d := a.next(as, done, barred)
		if d == nil {
			break
		}
		done[key(d)] = true
		if err := a.perform(ctx, *d); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", d.Action, d.Release, err))
		}
		if ctx.Err() != nil || !a.leaving.IsZero() {
			break
		}
		if as, err = a.assess(ctx); err != nil {
			errs = append(errs, err)
			break
		}
	}
	if ctx.Err() == nil && a.leaving.IsZero() {
		errs = append(errs, a.fetchAhead(ctx, as, barred))
	}
	return as, errors.Join(errs...)
}

// next is the first thing that may be started now, nil when there is none.
func (a *Agent) next(as *catalog.Assessment, done map[string]bool, barred map[catalog.ReleaseID]bool) *catalog.Due {
	now := a.world.Now()
	for i := range as.Due {
		d := &as.Due[i]
		if !d.Now(now) || done[key(d)] || a.waiting(key(d)) != nil {
			continue
		}
		if barred[d.Release] && d.Action != catalog.DoRevert && d.Action != catalog.DoRestart {
			continue // it did harm here
		}
		return d
	}
	return nil
}

// barred are the releases that did harm here, as long as their content is what
// did it.
func (a *Agent) barred() (map[catalog.ReleaseID]bool, error) {
	bars, err := a.journal.Bars()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	set := map[catalog.ReleaseID]bool{}
	for _, b := range bars {
		if r := a.view.catalog.Release(b.Release); r != nil && (b.Content == "" || r.Content() == b.Content) {
			set[b.Release] = true
		}
	}
	return set, nil
}

// reread takes a new policy; a bad one is told, and the last good one holds:
// a mistake in a file must not start or stop anything.
func (a *Agent) reread() {
	p, err := a.policy()
	a.mu.Lock()
	was := a.view.policy
	changed := fmt.Sprint(err) != fmt.Sprint(a.view.policyErr)
	a.view.policyErr = err
	if err == nil {
		a.view.policy = p
	}
	a.mu.Unlock()
	switch {
	case err == nil && (was == nil || was.text != p.text):
		if err := a.journal.PutPolicy(p); err != nil { // the file is there, too
			a.log.Warn("could not remember the policy", "err", err)
		}
	case err != nil && changed && was != nil:
		a.note(Event{Kind: PolicyBad, Text: fmt.Sprintf("the policy is not readable, the last one stays in force: %v", err)})
	}
}

// refresh takes the newest catalogue. Without one the last one goes on: its own
// expiry decides what may still be started from it.
func (a *Agent) refresh(ctx context.Context) error {
	c, err := a.world.Catalog(ctx)
	now := a.world.Now()
	a.mu.Lock()
	was, known := a.view.repoErr, a.view.catalog
	a.view.repoErr = err
	if err == nil {
		a.view.catalog, a.view.fetched = c, now
	}
	a.mu.Unlock()
	switch {
	case err == nil:
		if err := a.journal.PutCatalog(c, now); err != nil {
			return err
		}
		if was != nil {
			a.note(Event{Kind: RepositoryBack, Text: "the repository answers again"})
		}
		return a.purge(c)
	case known == nil:
		return fmt.Errorf("fetch the catalogue: %w", err)
	case was == nil || was.Error() != err.Error():
		a.note(Event{Kind: RepositoryGone, Text: fmt.Sprintf("no newer catalogue: %v", err)})
	}
	return nil
}

// assess measures the host and says where it stands; the enrolment follows.
func (a *Agent) assess(ctx context.Context) (*catalog.Assessment, error) {
	a.mu.Lock()
	c, p := a.view.catalog, a.view.policy
	a.mu.Unlock()
	inv, err := a.world.Inventory(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("look at this host: %w", err)
	}
	if inv.Receipts, err = a.journal.Receipts(); err != nil {
		return nil, err
	}
	inv.Labels = p.Labels
	enrolment, err := a.journal.Enrolment()
	if err != nil {
		return nil, err
	}
	rules, err := a.rules(p)
	if err != nil {
		return nil, err
	}
	as := catalog.Assess(inv, c, enrolment, &rules, a.world.Now())
	var joined catalog.Intent
	next, kept := a.change(func(e *catalog.Enrolment) error {
		if e.Intent != enrolment.Intent || !e.Since.Equal(enrolment.Since) {
			return nil // somebody wanted something else meanwhile
		}
		*e = e.Advance(as)
		if e.Intent != enrolment.Intent {
			joined = e.Intent
		}
		return nil
	})
	if kept != nil {
		next = enrolment
	}
	if joined != "" && kept == nil {
		a.note(Event{Kind: EnrolmentChanged, Text: fmt.Sprintf("%s, on %s", joined, as.Position.Baseline)})
	}
	if next.Intent != enrolment.Intent {
		as = catalog.Assess(inv, c, next, &rules, a.world.Now())
	}
	a.mu.Lock()
	was := a.view.assessment
	a.view.inventory, a.view.assessment = inv, as
	a.mu.Unlock()
	if kept != nil {
		return as, kept
	}
	if was == nil || was.Track.State != as.Track.State || was.Track.Release != as.Track.Release {
		a.note(Event{Kind: TrackChanged, Release: as.Track.Release, Text: trackWords(&as.Track)})
	}
	return as, a.journal.PutAssessment(as)
}

// change reads what is wanted of this host and what the agent is at, changes it,
// and keeps it where that made a difference.
func (a *Agent) change(do func(*catalog.Enrolment) error) (catalog.Enrolment, error) {
	a.want.Lock()
	defer a.want.Unlock()
	e, err := a.journal.Enrolment()
	if err != nil {
		return e, err
	}
	was, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	if err := do(&e); err != nil {
		return e, err
	}
	if now, err := json.Marshal(e); err != nil || bytes.Equal(now, was) {
		return e, err
	}
	return e, a.journal.PutEnrolment(e)
}

// wanted says whether the owner still wants this host to be worked on.
func (a *Agent) wanted() error {
	e, err := a.journal.Enrolment()
	if err != nil {
		return err
	}
	switch e.Intent {
	case catalog.Pending, catalog.Enrolled:
		return nil
	}
	return fmt.Errorf("%w: this host is %s, by %s; what was done stays", errWithdrawn, e.Intent, e.By)
}

// rules is the policy as the catalogue understands it, with what was asked of
// this host since.
func (a *Agent) rules(p *Policy) (catalog.Policy, error) {
	r := p.Rules()
	to, err := a.journal.Rebase()
	if err != nil {
		return r, err
	}
	r.Rebase = to
	return r, nil
}

// note keeps an event in the history. That it could not be kept stops nothing:
// it is logged.
func (a *Agent) note(e Event) {
	e.At = a.world.Now()
	if err := a.journal.Note(e); err != nil {
		a.log.Error("could not write to the journal", "event", e.Kind, "text", e.Text, "err", err)
		return
	}
	a.log.Info(e.Text, "event", e.Kind, "release", e.Release)
}
