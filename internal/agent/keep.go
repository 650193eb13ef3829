package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
	"hotpatch/internal/watch"
)

// Keep patches processes that start, or load an image, while the disk still
// has the old files: with the policy disk = "memory-only". Where the fixed
// package is on disk there is nothing to keep: what starts has the fix.
//
// It follows what is in force here and returns when ctx ends.
func (a *Agent) Keep(ctx context.Context, notice func(ctx context.Context, bundles []*patch.Bundle, sighted func(pid int)) error) error {
	var now []catalog.Digest
	stop := func() {} // ends the watch over now, and waits for it
	defer func() { stop() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ids, err := a.inForce()
		if err != nil {
			a.log.Error("could not tell what is in force", "err", err)
		} else if !slices.Equal(ids, now) {
			stop()
			now, stop = ids, a.keep(ctx, ids, notice)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keep watches for processes that need these hotpatches, until the function it
// returns is called.
func (a *Agent) keep(ctx context.Context, ids []catalog.Digest, notice func(context.Context, []*patch.Bundle, func(int)) error) (stop func()) {
	var bundles []*patch.Bundle
	for _, id := range ids {
		b, err := readCopy(a.copyFile(id), id)
		if err != nil {
			a.log.Error("new processes cannot be patched", "err", err)
			continue
		}
		bundles = append(bundles, b)
	}
	if len(bundles) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := notice(ctx, bundles, func(pid int) { a.keepOne(ctx, bundles, pid) }); err != nil && ctx.Err() == nil {
			a.log.Error("watching for new processes ended", "err", err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// inForce are the hotpatches that new processes have to get.
func (a *Agent) inForce() ([]catalog.Digest, error) {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	if v.policy.Rules().Disk != catalog.MemoryOnly || v.assessment == nil || v.catalog == nil || v.assessment.Intent != catalog.Enrolled {
		return nil, nil
	}
	in := append([]catalog.ReleaseID{v.assessment.Position.Hotpatch}, v.assessment.Position.Companions...)
	copies, err := a.journal.Copies()
	if err != nil {
		return nil, err
	}
	barred, err := a.barred()
	if err != nil {
		return nil, err
	}
	var ids []catalog.Digest
	for _, c := range copies {
		if slices.Contains(in, c.Release) && !barred[c.Release] && unwanted(v.catalog, c) == "" {
			ids = append(ids, c.Bundle)
		}
	}
	return ids, nil
}

func (a *Agent) keepOne(ctx context.Context, bundles []*patch.Bundle, pid int) {
	for _, b := range bundles {
		// What did harm to one process is not put into the next.
		id, err := b.ID()
		release, barred := a.releaseOf(catalog.Digest(id))
		if err != nil || barred {
			continue
		}
		watched, put, err := a.watch(ctx, pid, release, catalog.Digest(id))
		if err != nil {
			a.log.Warn("a new process cannot be watched and is not patched", "pid", pid, "err", err)
			continue
		}
		var r txn.Result
		if !watch.WhileYoung(ctx, a.world.Now, a.world.Now(), func() bool {
			r = a.world.Apply(ctx, pid, b)
			return r.Outcome == txn.Failed
		}) {
			return
		}
		switch r.Outcome {
		case txn.Applied:
			a.log.Info("patched a new process", "pid", pid, "comm", r.Comm)
		case txn.Failed, txn.Denied, txn.Busy:
			a.log.Warn("could not patch a new process", "pid", pid, "comm", r.Comm, "outcome", r.Outcome, "reason", r.Reason)
		}
		if put && r.Outcome != txn.Applied {
			if err := a.journal.DropProcess(watched); err != nil {
				a.log.Warn("could not end a watch", "pid", pid, "err", err)
			}
		}
	}
}

// releaseOf is the release in force here that a hotpatch was staged for; barred:
// there is none, or it did harm.
func (a *Agent) releaseOf(id catalog.Digest) (release catalog.ReleaseID, barred bool) {
	force, err := a.inForce()
	if err != nil || !slices.Contains(force, id) {
		return "", true
	}
	copies, err := a.journal.Copies()
	if err != nil {
		return "", true
	}
	for _, c := range copies {
		if c.Bundle == id {
			release = c.Release
		}
	}
	return release, release == ""
}
