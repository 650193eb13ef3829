package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// job is one piece of work: a release being installed, taken back, or the
// restarts that one asked for.
type job struct {
	due     catalog.Due
	release *catalog.Release // as it was when the work began; nil: it is in no catalogue any more
	run     catalog.Run
	bundles map[catalog.Digest]*patch.Bundle // verified and read from the staging directory
	hooked  bool                             // the pre-hook was run
}

// errWithdrawn ends a job whose release may not be installed any more.
var errWithdrawn = errors.New("withdrawn")

// errLeaving: the host goes down; the next life ends the job.
var errLeaving = errors.New("the host starts anew")

// perform does one thing that is due.
func (a *Agent) perform(ctx context.Context, d catalog.Due) error {
	switch d.Action {
	case catalog.DoRestart:
		return a.job(ctx, d, a.restart)
	case catalog.DoRevert:
		return a.job(ctx, d, a.takeBack)
	default:
		return a.job(ctx, d, a.install)
	}
}

// job keeps the record around a piece of work: it is in the journal before
// anything is touched, and has an end whatever happens. What takes back is done
// also where nothing can be written down any more.
func (a *Agent) job(ctx context.Context, d catalog.Due, do func(context.Context, *job) error) error {
	now := a.world.Now()
	a.mu.Lock()
	c, host := a.view.catalog, a.view.assessment.Host
	a.mu.Unlock()
	j := &job{due: d, release: c.Release(d.Release), bundles: map[catalog.Digest]*patch.Bundle{}}
	j.run = catalog.Run{
		ID: fmt.Sprintf("%s-%s-%s", now.UTC().Format("20060102T150405.000000000"), d.Action, d.Release), Host: host,
		Release: d.Release, State: catalog.RunInProgress, Restart: catalog.RestartNotNeeded, Started: now,
	}
	if len(d.Restarts) > 0 {
		j.run.Restart = catalog.RestartRequired
	}
	begun := a.show(&j.run)
	if begun != nil && d.Action != catalog.DoRevert {
		a.tried(key(&d), begun)
		return begun
	}
	err := errors.Join(begun, do(ctx, j))
	if errors.Is(err, errLeaving) {
		a.leaving = a.world.Now()
		return a.show(&j.run)
	}
	if j.hooked {
		// Also after a failure, and when we are told to end: it undoes what
		// the pre-hook did.
		if e := a.hook(context.WithoutCancel(ctx), j, a.current().Hooks.Post, "post"); e != nil {
			j.warn("post-hook: %v", e)
		}
	}
	return errors.Join(err, a.end(j, err))
}

// end writes what became of the job.
func (a *Agent) end(j *job, err error) error {
	r := &j.run
	r.Ended = a.world.Now()
	switch {
	case errors.Is(err, errWithdrawn), errors.Is(err, context.Canceled):
		r.State, r.Reason = catalog.RunCancelled, err.Error()
	case err != nil:
		r.State, r.Reason = catalog.RunFailed, err.Error()
	case len(r.Warnings) > 0 || slices.ContainsFunc(r.Items, func(i catalog.Item) bool { return i.State == catalog.ItemFailed }):
		r.State = catalog.RunWarnings
	default:
		r.State = catalog.RunSucceeded
	}
	var again error
	if r.State != catalog.RunSucceeded {
		again = errors.New(string(r.State))
	}
	a.tried(key(&j.due), again)
	keep := a.journal.PutRun(r)
	if err != nil {
		keep = errors.Join(keep, a.atNothing())
	}
	a.mu.Lock()
	a.view.run = nil
	a.mu.Unlock()
	a.note(Event{Kind: RunEnded, Release: r.Release, Text: runWords(j.due.Action, r)})
	return keep
}

// show keeps a run as it stands, for those who ask meanwhile.
func (a *Agent) show(r *catalog.Run) error {
	seen := *r
	seen.Items, seen.Warnings = slices.Clone(r.Items), slices.Clone(r.Warnings)
	a.mu.Lock()
	a.view.run = &seen
	a.mu.Unlock()
	return a.journal.PutRun(r)
}

func (j *job) warn(format string, args ...any) {
	j.run.Warnings = append(j.run.Warnings, fmt.Sprintf(format, args...))
}

func (j *job) item(name string, s catalog.ItemState, reason string) {
	j.run.Items = append(j.run.Items, catalog.Item{Name: name, State: s, Reason: reason})
}

// install brings a release onto the host: staged, disk first, then memory,
// then verified. Whether it may is asked anew before each of the first three.
func (a *Agent) install(ctx context.Context, j *job) error {
	if err := a.may(ctx, j, false); err != nil { // before the download
		return err
	}
	if err := a.stage(ctx, j); err != nil {
		return a.failed(j, err)
	}
	if err := a.may(ctx, j, true); err != nil { // staged
		return err
	}
	if err := a.working(j, catalog.Staged); err != nil {
		return err
	}
	p := a.current()
	if p.Hooks.Pre != "" || p.Hooks.Post != "" {
		j.hooked = true
		if err := a.hook(ctx, j, p.Hooks.Pre, "pre"); err != nil {
			if !p.Hooks.Go {
				return a.failed(j, fmt.Errorf("pre-hook: %w; nothing was changed", err))
			}
			j.warn("pre-hook: %v", err)
		}
	}
	if err := a.may(ctx, j, true); err != nil { // a hook may take hours
		return err
	}
	if err := a.working(j, catalog.Applying); err != nil {
		return err
	}
	if p.Rules().Disk != catalog.MemoryOnly {
		if err := a.disk(ctx, j); err != nil {
			return a.failed(j, err)
		}
	}
	if err := a.memory(ctx, j); err != nil {
		return a.failed(j, err)
	}
	if err := a.working(j, catalog.AppliedUnverified); err != nil {
		return err
	}
	return a.verify(ctx, j)
}

// may asks the catalogue again: refreshed, the release must be offered to this
// host as it measures now, with the content that was assessed. A bundle that
// was staged is checked against the metadata, too.
func (a *Agent) may(ctx context.Context, j *job, staged bool) error {
	if err := a.refresh(ctx); err != nil {
		return err
	}
	as, err := a.assess(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	c := a.view.catalog
	a.mu.Unlock()
	offer := as.Offer(j.due.Release)
	r := c.Release(j.due.Release)
	if offer == nil || offer.Content != j.due.Content || r == nil {
		why := "it is not offered any more"
		if offer != nil {
			why = "its content is not what was assessed"
		}
		for _, w := range as.Withheld {
			if w.Release == j.due.Release {
				why = w.Why
			}
		}
		return fmt.Errorf("%w before it was applied: %s; nothing was changed", errWithdrawn, why)
	}
	if err := a.wanted(); err != nil {
		return err
	}
	j.release = r
	if j.due.Window != nil && !a.world.Now().Before(j.due.Window.End) {
		return fmt.Errorf("%w: the window is over; nothing was changed", errWithdrawn)
	}
	if !staged {
		return nil
	}
	for id := range j.bundles {
		if err := a.world.Bundle(ctx, id, a.copyFile(id)); err != nil {
			return a.failed(j, fmt.Errorf("check the staged hotpatch %.12s: %w", id, err))
		}
	}
	return nil
}

// disk puts the fixed packages in place of those that are installed.
func (a *Agent) disk(ctx context.Context, j *job) error {
	a.mu.Lock()
	inv, rules := a.view.inventory, a.view.policy.Rules()
	a.mu.Unlock()
	var todo []catalog.Artifact
	for _, art := range j.release.Artifacts {
		p := installed(inv, &art)
		switch {
		case p == nil:
			continue
		case slices.Contains(rules.Exclude, art.Package):
			j.item(art.Package, catalog.ItemExcluded, "the policy excludes it")
		case p.Held:
			j.item(art.Package, catalog.ItemExcluded, "it is on hold (apt-mark unhold "+art.Package+")")
		case onDisk(p, &art):
			continue
		default:
			todo = append(todo, art)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	err := a.world.Settle(ctx)
	if err == nil {
		err = a.world.Install(ctx, todo)
	}
	for _, art := range todo {
		if err != nil {
			j.item(art.Package, catalog.ItemFailed, err.Error())
		} else {
			j.item(art.Package, catalog.ItemInstalled, art.Fixed)
		}
	}
	if err != nil {
		return fmt.Errorf("install on disk: %w", err)
	}
	return a.show(&j.run)
}

// installed finds the package of an artifact on the host itself.
func installed(inv *catalog.Inventory, art *catalog.Artifact) *catalog.Package {
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if p.Root == "" && p.Name == art.Package && (art.Arch == "" || p.Arch == "" || p.Arch == art.Arch) {
			return p
		}
	}
	return nil
}

// onDisk says whether the artifact's files are there: by build-id where it has
// any, else by version.
func onDisk(p *catalog.Package, art *catalog.Artifact) bool {
	have := map[string]string{}
	for _, g := range p.Images {
		have[g.Path] = g.BuildID
	}
	for _, g := range art.Images {
		if id, ok := have[g.Path]; !ok || id != g.Fixed {
			return false
		}
	}
	return p.Version == art.Fixed
}

// memory patches the processes that run what the bundles are for. One that
// cannot be patched now does not keep the others from it.
func (a *Agent) memory(ctx context.Context, j *job) error {
	for _, art := range j.release.Artifacts {
		b := j.bundles[art.Bundle]
		if b == nil {
			continue
		}
		pids, err := a.world.Targets(b)
		if err != nil {
			return fmt.Errorf("find processes that run %s: %w", art.Package, err)
		}
		for _, pid := range pids {
			if err := errors.Join(ctx.Err(), a.wanted()); err != nil {
				return err
			}
			if err := a.patch(ctx, j, &art, b, pid); err != nil {
				return err
			}
		}
		if err := a.show(&j.run); err != nil {
			return err
		}
	}
	return nil
}

// patch patches one process and begins to watch it: the watch is in the journal
// first, so that a process that was patched is watched whatever happens to us.
func (a *Agent) patch(ctx context.Context, j *job, art *catalog.Artifact, b *patch.Bundle, pid int) error {
	watched, put, err := a.watch(ctx, pid, j.release.ID, art.Bundle)
	if err != nil { // what cannot be watched is not patched
		j.item(fmt.Sprintf("pid %d", pid), catalog.ItemFailed, err.Error())
		return nil
	}
	r := a.world.Apply(ctx, pid, b)
	name := fmt.Sprintf("pid %d (%s)", pid, r.Comm)
	if put && r.Outcome != txn.Applied {
		err = a.journal.DropProcess(watched)
	}
	switch r.Outcome {
	case txn.Applied, txn.Already:
		j.item(name, catalog.ItemInstalled, "")
	case txn.Skipped:
	case txn.Died:
		if r.Attempts > 0 {
			j.item(name, catalog.ItemFailed, "it died while it was patched: "+r.Reason)
			why := name + " died while it was patched"
			err = errors.Join(err, a.incident(ctx, j.release.ID, j.due.Content, why))
			return errors.Join(err, fmt.Errorf("%s; the release was taken back", why))
		}
	default:
		j.item(name, catalog.ItemFailed, r.Reason)
	}
	return err
}

// watch begins the watch over a process that is about to be patched; put: it
// was not watched before. A process of no unit that is younger than the soak is
// not watched: how it ends cannot be known, and most such end soon by themselves.
func (a *Agent) watch(ctx context.Context, pid int, release catalog.ReleaseID, bundle catalog.Digest) (p Patched, put bool, err error) {
	run, alive, err := a.world.Process(pid)
	if err != nil || !alive {
		return p, false, err // it ended by itself
	}
	now, soak := a.world.Now(), time.Duration(a.current().Soak)
	p = Patched{PID: pid, Started: run.Started, Name: run.Name, Release: release, Bundle: bundle, Unit: run.Unit, Until: now.Add(soak)}
	if p.Unit == "" && now.Sub(run.Since) < soak {
		return p, false, nil
	}
	before, err := a.journal.Soaking(now)
	if err != nil {
		return p, false, err
	}
	if slices.ContainsFunc(before, func(q Patched) bool { return q.PID == pid && q.Started == p.Started && q.Bundle == bundle }) {
		return p, false, nil
	}
	if p.Unit != "" {
		h, err := a.world.Health(ctx, p.Unit)
		if err != nil {
			return p, false, fmt.Errorf("ask for the health of %s: %w", p.Unit, err)
		}
		p.Restarts = h.Restarts
	}
	return p, true, a.journal.PutPatched(p)
}

// verify reads disk and memory back. Done is what is seen to be there.
func (a *Agent) verify(ctx context.Context, j *job) error {
	as, err := a.assess(ctx)
	if err != nil {
		return err
	}
	restart := false
	for _, s := range as.Position.Stale {
		if s.Release != j.release.ID && !a.superseded(s.Release, j.release.ID) {
			continue
		}
		if s.Bundle == "" {
			restart = true
		} else {
			name := fmt.Sprintf("pid %d", s.PID)
			if !slices.ContainsFunc(j.run.Items, func(i catalog.Item) bool {
				return i.State == catalog.ItemFailed && strings.HasPrefix(i.Name, name+" ")
			}) {
				j.item(name+" ("+s.Path+")", catalog.ItemFailed, "it still runs the old code")
			}
		}
	}
	if a.current().Rules().Disk != catalog.MemoryOnly {
		a.mu.Lock()
		inv := a.view.inventory
		a.mu.Unlock()
		for _, art := range j.release.Artifacts {
			p := installed(inv, &art)
			if p == nil || p.Held || slices.Contains(a.current().Exclude, art.Package) || onDisk(p, &art) {
				continue
			}
			return a.failed(j, fmt.Errorf("after installing, %s on disk is %s, not the %s of the release", art.Package, p.Version, art.Fixed))
		}
	}
	if err := a.journal.PutReceipt(catalog.Receipt{Release: j.release.ID, At: a.world.Now(), By: "hotpatch agent"}); err != nil {
		return err
	}
	if restart {
		j.run.Restart = catalog.RestartRequired
		return a.working(j, catalog.RestartPending)
	}
	if id, err := a.journal.Rebase(); err != nil {
		return err
	} else if id == j.release.ID {
		if err := a.journal.PutRebase(""); err != nil {
			return err
		}
	}
	return a.dropWork()
}

// superseded says whether old is made unnecessary by what was just installed.
func (a *Agent) superseded(old, by catalog.ReleaseID) bool {
	a.mu.Lock()
	c := a.view.catalog
	a.mu.Unlock()
	r := c.Release(old)
	if r == nil {
		return false
	}
	s := c.SupersededBy(r, a.world.Now())
	return s != nil && s.ID == by
}

// working writes down what the agent is at, before it is.
func (a *Agent) working(j *job, s catalog.TrackState) error { return a.stands(j, s, "") }

// failed writes down that the work failed, and returns why. That somebody told
// us to stop is no failure.
func (a *Agent) failed(j *job, why error) error {
	if errors.Is(why, errWithdrawn) || errors.Is(why, context.Canceled) {
		return why
	}
	return errors.Join(why, a.stands(j, catalog.Failed, why.Error()))
}

// stands writes down how the work on a release stands.
func (a *Agent) stands(j *job, s catalog.TrackState, reason string) error {
	_, err := a.change(func(e *catalog.Enrolment) error {
		e.Work = &catalog.Work{Release: j.due.Release, Content: j.due.Content, State: s, Since: a.world.Now(), Reason: reason}
		return nil
	})
	return err
}

// dropWork: the agent is at nothing.
func (a *Agent) dropWork() error {
	_, err := a.change(func(e *catalog.Enrolment) error {
		e.Work = nil
		return nil
	})
	return err
}

// atNothing ends what the agent was in the middle of; that a restart is pending
// or that something failed stays true.
func (a *Agent) atNothing() error {
	_, err := a.change(func(e *catalog.Enrolment) error {
		if w := e.Work; w != nil && w.State != catalog.RestartPending && w.State != catalog.Failed {
			e.Work = nil
		}
		return nil
	})
	return err
}

func (a *Agent) current() *Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view.policy
}

// hook runs one of the administrator's commands.
func (a *Agent) hook(ctx context.Context, j *job, command, which string) error {
	if command == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.current().Hooks.Timeout))
	defer cancel()
	return a.world.Hook(ctx, command, []string{
		"HOTPATCH_HOOK=" + which, "HOTPATCH_RELEASE=" + string(j.due.Release),
		"HOTPATCH_ACTION=" + string(j.due.Action), "HOTPATCH_STATE=" + string(j.run.State),
	})
}
