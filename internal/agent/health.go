package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// watchEvery is how often patched processes are looked at while they soak.
const watchEvery = 5 * time.Second

// lookAfter looks at the processes that were patched not long ago. One that
// ended without anybody's doing, or whose unit failed, is an incident.
func (a *Agent) lookAfter(ctx context.Context) error {
	now := a.world.Now()
	watched, err := a.journal.Soaking(now)
	if err != nil {
		return err
	}
	hurt := map[catalog.ReleaseID]bool{}
	var errs []error // one that cannot be seen keeps nobody from looking at the others
	for _, p := range watched {
		if hurt[p.Release] {
			continue
		}
		why, gone, err := a.ailing(ctx, p)
		switch {
		case err != nil:
			errs = append(errs, err)
		case why != "":
			hurt[p.Release] = true
			content := catalog.Digest("")
			a.mu.Lock()
			if r := a.view.catalog.Release(p.Release); r != nil {
				content = r.Content()
			}
			a.mu.Unlock()
			errs = append(errs, a.incident(ctx, p.Release, content, why))
		case gone: // started anew by its service manager or its owner, as asked
			errs = append(errs, a.journal.DropProcess(p))
		}
	}
	if len(watched) > 0 {
		errs = append(errs, a.journal.DropPatched("", now))
	}
	return errors.Join(errs...)
}

// ailing says what is wrong with a patched process. gone: it ended, and nothing
// is wrong with that.
func (a *Agent) ailing(ctx context.Context, p Patched) (why string, gone bool, err error) {
	run, alive, err := a.world.Process(p.PID)
	if err != nil {
		return "", false, fmt.Errorf("look at patched process %d: %w", p.PID, err)
	}
	gone = !alive || run.Started != p.Started
	name := fmt.Sprintf("process %d (%s)", p.PID, p.Name)
	if p.Unit == "" {
		if gone {
			return name + " ended within its soak", true, nil
		}
		return "", false, nil
	}
	// A worker that crashes is started anew by its own parent, and its unit is
	// none the wiser.
	if by := a.world.Crash(p.PID, p.Until.Add(-time.Duration(a.current().Soak))); gone && by != "" {
		return fmt.Sprintf("%s of %s was ended by %s within its soak", name, p.Unit, by), true, nil
	}
	h, err := a.world.Health(ctx, p.Unit)
	if err != nil {
		return "", gone, fmt.Errorf("ask for the health of %s: %w", p.Unit, err)
	}
	switch {
	case h.Failed:
		return fmt.Sprintf("%s failed within the soak of %s: %s", p.Unit, name, h.Why), gone, nil
	case h.Restarts > p.Restarts:
		return fmt.Sprintf("%s crashed within the soak of %s and was started anew by its manager", p.Unit, name), gone, nil
	}
	return "", gone, nil
}

// incident takes a release out of every process, and keeps it from coming back
// until somebody says so.
func (a *Agent) incident(ctx context.Context, id catalog.ReleaseID, content catalog.Digest, why string) error {
	a.note(Event{Kind: Incident, Release: id, Text: why + "; the release is taken back"})
	bar := a.journal.PutBar(Bar{Release: id, Content: content, At: a.world.Now(), Why: why})
	d := catalog.Due{Action: catalog.DoRevert, Release: id, Content: content, Why: why}
	err := a.job(ctx, d, func(ctx context.Context, j *job) error {
		// Also when we are told to end: what does harm does not wait for us.
		return errors.Join(a.takeBack(context.WithoutCancel(ctx), j), a.stands(j, catalog.Failed, why))
	})
	return errors.Join(bar, err, a.journal.DropPatched(id, a.world.Now()))
}

// takeBack takes a release's hotpatches out of every process that carries one.
// The files on disk stay: they are the distribution's.
func (a *Agent) takeBack(ctx context.Context, j *job) error {
	ids, err := a.bundlesOf(j)
	if err != nil {
		return err
	}
	var stuck []string
	for _, id := range ids {
		pids, err := a.world.Carrying(patch.ID(id))
		if err != nil {
			return fmt.Errorf("find processes that carry %.12s: %w", id, err)
		}
		for _, pid := range pids {
			r := a.world.Revert(ctx, pid, patch.ID(id))
			name := fmt.Sprintf("pid %d (%s)", pid, r.Comm)
			switch r.Outcome {
			case txn.Reverted, txn.Already:
				j.item(name, catalog.ItemInstalled, "reverted")
			case txn.Skipped, txn.Died:
			default:
				j.item(name, catalog.ItemFailed, r.Reason)
				stuck = append(stuck, name)
			}
		}
	}
	if err := a.purgeRelease(j.due.Release, j.due.Why); err != nil {
		return err
	}
	if len(stuck) > 0 {
		return a.failed(j, fmt.Errorf("take back %s: still in %s", j.due.Release, stuck[0]))
	}
	return a.dropWork()
}

// bundlesOf are the digests of a release's hotpatches, also of one that is in
// no catalogue any more: from the catalogue, the staged copies and the watch.
func (a *Agent) bundlesOf(j *job) ([]catalog.Digest, error) {
	var ids []catalog.Digest
	if j.release != nil {
		for _, art := range j.release.Artifacts {
			if art.Bundle != "" {
				ids = append(ids, art.Bundle)
			}
		}
	}
	copies, err := a.journal.Copies()
	if err != nil {
		return nil, err
	}
	for _, c := range copies {
		if c.Release == j.due.Release {
			ids = append(ids, c.Bundle)
		}
	}
	watched, err := a.journal.Soaking(time.Time{})
	if err != nil {
		return nil, err
	}
	for _, p := range watched {
		if p.Release == j.due.Release {
			ids = append(ids, p.Bundle)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
