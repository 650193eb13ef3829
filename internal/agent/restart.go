package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hotpatch/internal/catalog"
)

// HostUnit is what a restart of the whole host is called among units.
const HostUnit = "host"

// restart makes the restarts that are due. It is only ever called for
// something that catalog.Assess found due inside a window; the clock is looked
// at again before each of them, so that the last does not begin outside.
func (a *Agent) restart(ctx context.Context, j *job) error {
	if j.due.Window == nil {
		// Assess gives every restart a window. Without one this is our own
		// mistake, and a mistake restarts nothing.
		return errors.New("restart: no window was given; nothing was restarted")
	}
	host := false
	for _, unit := range j.due.Restarts {
		if unit == HostUnit {
			host = true // last
			continue
		}
		if err := errors.Join(ctx.Err(), a.wanted()); err != nil {
			return err
		}
		if err := a.restartOne(ctx, j, unit); err != nil {
			return err
		}
	}
	if host {
		if err := errors.Join(ctx.Err(), a.wanted()); err != nil {
			return err
		}
		return a.reboot(ctx, j)
	}
	if j.run.Restart == catalog.RestartFailed {
		return a.failed(j, errors.New("a unit did not come up again after its restart"))
	}
	return a.restarted(ctx, j)
}

// restartOne restarts one unit. That it does not come up is a finding about
// this unit; the others still get their turn.
func (a *Agent) restartOne(ctx context.Context, j *job, unit string) error {
	if now := a.world.Now(); !now.Before(j.due.Window.End) {
		j.item(unit, catalog.ItemPending, string(catalog.WindowExceeded))
		j.warn("%s: %s was not restarted", catalog.WindowExceeded, unit)
		return nil
	}
	if j.run.Restart == catalog.RestartRequired || j.run.Restart == catalog.RestartNotNeeded {
		j.run.Restart = catalog.RestartStarted
	}
	if err := a.show(&j.run); err != nil {
		return err
	}
	// What we restart is not an accident of the patch it carries.
	if err := a.forget(unit); err != nil {
		return err
	}
	err := a.world.Restart(ctx, unit)
	if err == nil {
		var h Health
		if h, err = a.world.Health(ctx, unit); err == nil && h.Failed {
			err = errors.New(h.Why)
		}
	}
	if err != nil {
		j.run.Restart = catalog.RestartFailed
		j.item(unit, catalog.ItemFailed, err.Error())
		return nil
	}
	j.item(unit, catalog.ItemInstalled, "restarted")
	return nil
}

// forget ends the watch over the processes of a unit.
func (a *Agent) forget(unit string) error {
	watched, err := a.journal.Soaking(a.world.Now())
	if err != nil {
		return err
	}
	for _, p := range watched {
		if p.Unit == unit {
			if err := a.journal.DropProcess(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// reboot starts the host anew, if its owner allows that. The run has no end
// until the agent is back: finishInterrupted ends it.
func (a *Agent) reboot(ctx context.Context, j *job) error {
	if !a.current().Reboot {
		j.item(HostUnit, catalog.ItemExcluded, "the policy does not allow restarts of the host (reboot = false)")
		j.warn("the host has to be restarted by its owner")
		return nil
	}
	if !a.world.Now().Before(j.due.Window.End) {
		j.item(HostUnit, catalog.ItemPending, string(catalog.WindowExceeded))
		j.warn("%s: the host was not restarted", catalog.WindowExceeded)
		return nil
	}
	j.run.Restart = catalog.RestartStarted
	if err := a.show(&j.run); err != nil {
		return err
	}
	if err := a.world.Reboot(ctx); err != nil {
		j.run.Restart = catalog.RestartFailed
		return a.failed(j, fmt.Errorf("restart the host: %w", err))
	}
	return errLeaving
}

// restarted notes that what was asked for was done: from now on the host has
// to match its release, or it is failed.
func (a *Agent) restarted(ctx context.Context, j *job) error {
	if j.run.Restart == catalog.RestartStarted {
		j.run.Restart = catalog.RestartCompleted
	}
	if err := a.restartMade(); err != nil {
		return err
	}
	as, err := a.assess(ctx)
	if err != nil {
		return err
	}
	if as.Track.State == catalog.Failed {
		return fmt.Errorf("after the restart: %s", as.Track.Reason)
	}
	return a.restartMatched(as)
}

// restartMade notes that the restart which a release asked for was made.
func (a *Agent) restartMade() error {
	_, err := a.change(func(e *catalog.Enrolment) error {
		if e.Work != nil && e.Work.State == catalog.RestartPending {
			e.Work.Restarted = true
		}
		return nil
	})
	return err
}

// restartMatched ends the work on a release after whose restart the host
// matches.
func (a *Agent) restartMatched(as *catalog.Assessment) error {
	if as.Track.State == catalog.Failed || as.Track.State == catalog.RestartPending {
		return nil
	}
	_, err := a.change(func(e *catalog.Enrolment) error {
		if e.Work != nil && e.Work.Restarted {
			e.Work = nil
		}
		return nil
	})
	return err
}

// settle finishes what an interrupted installation left, whoever began it. What
// cannot be finished is tried less and less often.
func (a *Agent) settle(ctx context.Context) error {
	const what = "settle"
	if err := a.waiting(what); err != nil {
		return err
	}
	err := a.world.Settle(ctx)
	if err != nil {
		err = fmt.Errorf("settle an interrupted installation: %w", err)
	}
	a.tried(what, err)
	return err
}

// finishInterrupted settles what an installation left half done, and ends the
// runs that an agent left which did not live to end them. What else they left is
// measured, and done by the next run.
func (a *Agent) finishInterrupted(ctx context.Context) error {
	open, err := a.journal.OpenRuns()
	if err != nil {
		return err
	}
	if len(open) > 0 || a.wanted() == nil {
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
	if len(open) == 0 {
		return nil
	}
	a.mu.Lock()
	c := a.view.catalog
	a.mu.Unlock()
	inv, err := a.world.Inventory(ctx, c)
	if err != nil {
		return fmt.Errorf("look at this host: %w", err)
	}
	for i := range open {
		r := &open[i]
		r.Ended = a.world.Now()
		switch {
		case r.Restart == catalog.RestartStarted && inv.Booted.After(r.Started):
			r.State, r.Restart = catalog.RunSucceeded, catalog.RestartCompleted
			if err := a.restartMade(); err != nil {
				return err
			}
		case !a.leaving.IsZero():
			r.State, r.Restart, r.Reason = catalog.RunFailed, catalog.RestartFailed, "the host was told to start anew and did not"
			a.note(Event{Kind: RunInterrupted, Release: r.Release, Text: r.Reason})
		default:
			r.State, r.Reason = catalog.RunFailed, "the agent ended in the middle of it; what it left is measured and finished by the next run"
			a.note(Event{Kind: RunInterrupted, Release: r.Release, Text: "run " + r.ID + " was interrupted"})
		}
		if err := a.journal.PutRun(r); err != nil {
			return err
		}
	}
	a.leaving = time.Time{}
	a.mu.Lock()
	a.view.run = nil
	a.mu.Unlock()
	return a.atNothing()
}
