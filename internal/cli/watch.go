package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
	"hotpatch/internal/watch"
)

// watchFlags are the choices of hotpatch watch.
type watchFlags struct {
	rescan time.Duration
	wait   time.Duration
	json   bool
}

// watchLine is what --json prints for every process that was dealt with, one
// object a line.
type watchLine struct {
	Time     time.Time    `json:"time"`
	Hotpatch patch.ID     `json:"hotpatch"`
	Via      watch.Signal `json:"via"`      // what drew attention to the process
	AfterUS  *int64       `json:"after_us"` // from execve, or the opening of the image, to the outcome; null after a rescan
	txn.Result
}

func (a *app) watchCmd() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch FILE...",
		Short: "Keep patching processes that start, or load an image, from now on",
		Long: `watch puts hotpatches into every process that runs what they are for, and then
stays: whatever starts or loads such an image later is patched within
milliseconds, in containers too. It is for hosts whose files may not change
(read-only images, containers that still start the old version). Where the fixed
package can be installed on disk there is no need for it.

New processes are noticed when they open a watched file (fanotify), when they
call execve (the kernel's process connector), and by a look at every process
now and then; what this host cannot do is said at the start. End it with an
interrupt: patched processes stay patched.`,
		Example: `  hotpatch watch redis.hotpatch haproxy.hotpatch
  hotpatch watch libssl.hotpatch --rescan 10s --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("watch: no FILE given")
			}
			return nil
		},
	}
	fl := cmd.Flags()
	durationFlag(fl, &f.rescan, "rescan", watch.DefaultRescan, "look at every process once in `DURATION`, at least 1s")
	waitFlag(fl, &f.wait)
	fl.BoolVar(&f.json, "json", false, "print one JSON object a line for every process that was dealt with")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		switch {
		case f.rescan < time.Second:
			return usage("watch: --rescan %s is less than 1s", f.rescan)
		case f.wait < 0:
			return usage("watch: --wait %s is negative", f.wait)
		}
		return a.watch(ctx, args, f)
	})
	return cmd
}

func (a *app) watch(ctx context.Context, files []string, f watchFlags) error {
	defer neverStop()()
	ctx, undo := endsWithReader(ctx)
	defer undo()
	k := &keeper{app: a, json: f.json, told: map[told]string{},
		options: txn.Options{Wait: f.wait, Log: a.log(), Tables: &txn.Tables{}, By: ourselves()}}
	var buildIDs, paths []string
	for _, file := range files {
		b, err := readBundle(file)
		if err != nil {
			return err
		}
		if err := b.Applicable(); err != nil {
			e := &exitError{code: exitRefused, err: fmt.Errorf("watch %s: %w; nothing was changed", file, err)}
			if errors.Is(err, patch.ErrNotAccepted) {
				e.hint = fmt.Sprintf("hotpatch review %s --accept REASON", file)
			}
			return e
		}
		id, err := b.ID()
		if err != nil {
			return fmt.Errorf("identify %s: %w", file, err)
		}
		k.bundles = append(k.bundles, kept{id, b})
		for _, im := range b.Manifest.Images {
			buildIDs = append(buildIDs, im.BuildIDBase)
			paths = append(paths, im.Path)
		}
		for _, l := range b.Manifest.LeftOut {
			if l.BuildIDBase != "" { // such a process is refused, which is told
				buildIDs = append(buildIDs, l.BuildIDBase)
				paths = append(paths, l.Path)
			}
		}
	}
	w, err := watch.New(buildIDs, paths, watch.Options{Rescan: f.rescan, Log: a.log(), Ready: func() {
		fmt.Fprintf(a.err, "watching for processes that %s concerns, and looks at every process once in %s\n",
			count(len(files), "hotpatch"), shortDuration(f.rescan))
	}})
	if err != nil {
		return err
	}
	for _, s := range []watch.Signal{watch.Open, watch.Exec} {
		if err := w.Lacks()[s]; err != nil {
			fmt.Fprintf(a.err, "%s no %s events: %v\n", a.errStyle.warn("warning:"), s, err)
		}
	}
	return w.Run(ctx, func(s watch.Sighting) { k.patch(ctx, s) })
}

// kept is one hotpatch that processes are kept patched with.
type kept struct {
	id     patch.ID
	bundle *patch.Bundle
}

// told is what was said about last.
type told struct {
	pid   int
	start uint64
	id    patch.ID
}

// keeper deals with the processes that a watcher sees.
type keeper struct {
	*app
	json    bool
	bundles []kept
	options txn.Options

	mu   sync.Mutex // guards told, and the output
	told map[told]string
}

// mostTold bounds what is remembered of what was said.
const mostTold = 1 << 16

func (k *keeper) patch(ctx context.Context, s watch.Sighting) {
	for _, b := range k.bundles {
		var r txn.Result
		if !watch.WhileYoung(ctx, time.Now, s.Seen, func() bool {
			r = txn.Apply(ctx, s.PID, b.bundle, k.options)
			return r.Outcome == txn.Failed && s.Via != watch.Rescan
		}) {
			return
		}
		if ctx.Err() != nil && r.Outcome != txn.Applied {
			return
		}
		k.tell(s, b.id, r)
	}
}

// tell reports what happened, but not what was said before and what needs no
// words: a process that carries the hotpatch, does not map its images, or ended
// before anything was tried.
func (k *keeper) tell(s watch.Sighting, id patch.ID, r txn.Result) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	key, words := told{s.PID, s.Start, id}, string(r.Outcome)+" "+r.Reason
	quiet := r.Outcome == txn.Already || r.Outcome == txn.Skipped || r.Outcome == txn.Died && r.Attempts == 0
	if quiet || r.Outcome != txn.Applied && k.told[key] == words {
		return
	}
	if len(k.told) >= mostTold {
		clear(k.told)
	}
	k.told[key] = words
	var after *int64
	if !s.At.IsZero() {
		us := now.Sub(s.At).Microseconds()
		after = &us
	}
	if k.json {
		line, err := json.Marshal(watchLine{Time: now.UTC(), Hotpatch: id, Via: s.Via, AfterUS: after, Result: r})
		if err != nil {
			fmt.Fprintf(k.err, "hotpatch: encode result: %v\n", err)
			return
		}
		fmt.Fprintf(k.out, "%s\n", line)
		return
	}
	if r.Outcome == txn.Applied && after != nil {
		r.Reason = joined(r.Reason, fmt.Sprintf("%.1f ms after it %s", float64(*after)/1000, map[watch.Signal]string{
			watch.Open: "loaded the image", watch.Exec: "started"}[s.Via]))
	}
	k.printResult(r)
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
