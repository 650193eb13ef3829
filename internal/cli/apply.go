package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// liveFlags are what apply and revert have in common.
type liveFlags struct {
	pids []int
	wait time.Duration
	json bool
}

func (f *liveFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	pidsFlag(cmd, &f.pids, "only this `PID`; may be given several times (default: every process it concerns, containers included)")
	waitFlag(fl, &f.wait)
	fl.BoolVar(&f.json, "json", false, "print the results as JSON")
}

// check refuses values that mean nothing, and drops repeated pids.
func (f *liveFlags) check(verb string) error {
	if f.wait < 0 {
		return usage("%s: --wait %s is negative", verb, f.wait)
	}
	pids, err := checkPIDs(verb, f.pids)
	f.pids = pids
	return err
}

func checkPIDs(verb string, pids []int) ([]int, error) {
	seen := map[int]bool{}
	var once []int
	for _, pid := range pids {
		if pid <= 0 {
			return nil, usage("%s: %d is not a pid", verb, pid)
		}
		if !seen[pid] {
			seen[pid] = true
			once = append(once, pid)
		}
	}
	return once, nil
}

func (a *app) applyCmd() *cobra.Command {
	var f liveFlags
	var consistency string
	cmd := &cobra.Command{
		Use:   "apply FILE [--pid PID]... [--wait DURATION] [--consistency strict]",
		Short: "Put a hotpatch into the running processes it is for",
		Long: `apply finds every process on this host that maps an image the hotpatch is for,
in containers too, and patches them, each by itself. A process is stopped for
about a millisecond; it is changed wholly or not at all. One that is busy is
tried again while others are worked on. Processes that already have the
hotpatch are left alone.

While the change is made, none of the functions that change may be waiting on
any stack (strict). A hotpatch of a single function that was proved independent
of everything else lets a call that is under way finish in the old code. Where
it can, it is put in force by exchanging a page of code, and no thread but one
is held up; a process with few threads, all of which sleep, is stopped instead.
--consistency strict has it wait, and stop, too.

A hotpatch that needs review is refused until somebody accepted it (hotpatch
review FILE --accept REASON).

Exit code 0: every process is patched, and there was at least one. 4: some are,
others are not, or could not be examined for want of privilege (what even root
may not examine is only warned of). 3: nothing was changed. 1: errors.`,
		Example: `  hotpatch apply redis.hotpatch
  hotpatch apply redis.hotpatch --pid 812 --wait 30s
  hotpatch apply redis.hotpatch --json`,
		Args: needs("FILE"),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&consistency, "consistency", "", "be as careful as `MODE`, strict, whatever the hotpatch allows")
	_ = cmd.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions([]string{string(patch.Strict)}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		if err := f.check("apply"); err != nil {
			return err
		}
		if consistency != "" && consistency != string(patch.Strict) {
			return usage("apply: --consistency can only be strict; what else is safe, the hotpatch says itself")
		}
		return a.apply(ctx, args[0], f, patch.Mode(consistency))
	})
	return cmd
}

func (a *app) apply(ctx context.Context, file string, f liveFlags, mode patch.Mode) error {
	b, err := readBundle(file)
	if err != nil {
		return err
	}
	if err := b.Applicable(); err != nil {
		if f.json {
			if err := writeJSON(a.out, []txn.Result{}); err != nil {
				return err
			}
		}
		hint := ""
		if errors.Is(err, patch.ErrNotAccepted) {
			hint = fmt.Sprintf("hotpatch review %s --accept REASON", file)
		}
		return &exitError{code: exitRefused, err: fmt.Errorf("apply %s: %w; nothing was changed", file, err), hint: hint}
	}
	pids, denied := f.pids, map[int]error(nil)
	if len(pids) == 0 {
		if pids, denied, err = txn.Targets(b); err != nil {
			return fmt.Errorf("find processes for %s: %w", file, err)
		}
	}
	o := txn.Options{Wait: f.wait, Log: a.log(), Tables: &txn.Tables{}, Turns: txn.NewTurns(), By: ourselves(), Consistency: mode}
	one := func(ctx context.Context, pid int) txn.Result { return txn.Apply(ctx, pid, b, o) }
	none := fmt.Sprintf("no process maps %s; nothing to do", imagesText(&b.Manifest))
	return a.each(ctx, pids, denied, f, o.Turns, one, none)
}

// imagesText names the images a bundle is for.
func imagesText(m *patch.Manifest) string {
	if len(m.Images) == 1 {
		return fmt.Sprintf("%s with build-id %s", plain(m.Images[0].Path), m.Images[0].BuildIDBase)
	}
	return fmt.Sprintf("any of the %d images of %s", len(m.Images), title(m))
}

// each handles the processes and reports every one of them: also after an
// interrupt, when the rest is not tried any more. They are begun in order, and
// one that is busy lets the next begin. none is what to say when there is no
// process.
func (a *app) each(ctx context.Context, pids []int, denied map[int]error, f liveFlags, turns txn.Turns,
	one func(context.Context, int) txn.Result, none string) error {
	defer neverStop()()
	ctx, undo := endsWithReader(ctx)
	defer undo()
	all := make([]*txn.Result, len(pids))
	var report sync.Mutex
	var working sync.WaitGroup
	for i, pid := range pids {
		turns.Take()
		working.Go(func() {
			defer turns.Give()
			r := attend(ctx, pid, len(f.pids) > 0, one)
			if len(f.pids) == 0 && r.Outcome == txn.Died && r.Attempts == 0 {
				return // it ended by itself before its turn came
			}
			report.Lock()
			defer report.Unlock()
			all[i] = &r
			if !f.json {
				a.printResult(r)
			}
		})
	}
	working.Wait()
	results := make([]txn.Result, 0, len(all))
	for _, r := range all {
		if r != nil {
			results = append(results, *r)
		}
	}
	if f.json {
		if err := writeJSON(a.out, results); err != nil {
			return err
		}
	}
	a.printDenied(denied)
	if len(results) == 0 {
		e := &exitError{code: exitRefused, err: fmt.Errorf("%s", none)}
		if len(denied) > 0 && os.Geteuid() != 0 {
			e.hint = "run it as root to examine every process"
		}
		return e
	}
	if len(results) > 1 && !f.json {
		fmt.Fprintln(a.out, a.outStyle.dim(sumText(results)))
	}
	if ctx.Err() != nil {
		fmt.Fprintf(a.err, "hotpatch: interrupted; what is said above holds\n")
	} else {
		a.outcomeHints(results, f.wait)
	}
	unknown := len(denied)
	if os.Geteuid() == 0 {
		// There is no one left to ask: a process that is protected from root,
		// such as one outside our container, is warned of and no more.
		unknown = 0
	} else if unknown > 0 {
		a.hint("run it as root to examine every process")
	}
	return done(outcomeCode(results, unknown))
}

// attend handles one process. named: the user asked for this very one.
func attend(ctx context.Context, pid int, named bool, one func(context.Context, int) txn.Result) txn.Result {
	if ctx.Err() != nil {
		return txn.Result{PID: pid, Comm: commOf(pid), Outcome: txn.Failed, Reason: "interrupted before it was tried"}
	}
	if named {
		if _, err := proc.Read(pid); errors.Is(err, proc.ErrGone) { // it did not die on us: it never was
			return txn.Result{PID: pid, Outcome: txn.Failed, Reason: "no such process"}
		}
	}
	return one(ctx, pid)
}

// sumText is "3 applied, 1 busy".
func sumText(rs []txn.Result) string {
	text := ""
	for _, o := range []txn.Outcome{txn.Applied, txn.Reverted, txn.Already, txn.Busy, txn.Denied, txn.Skipped, txn.Died, txn.Failed} {
		n := 0
		for _, r := range rs {
			if r.Outcome == o {
				n++
			}
		}
		if n > 0 {
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%d %s", n, o)
		}
	}
	return text
}

// commOf is the process's name if it can be had; it is only shown.
func commOf(pid int) string {
	info, err := proc.Read(pid)
	if err != nil {
		return ""
	}
	return info.Comm
}

// neverStop has the terminal's stops (Ctrl-Z, or output from the background)
// ignored until undo is called: the threads that we hold would stand as long as we
// do.
func neverStop() (undo func()) {
	stops := []os.Signal{syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU}
	signal.Ignore(stops...)
	return func() { signal.Reset(stops...) }
}

// endsWithReader cancels the context when nobody reads any more what is written
// (SIGPIPE, as with head), which would end us at once otherwise, whatever we hold.
func endsWithReader(ctx context.Context) (context.Context, func()) {
	return signal.NotifyContext(ctx, syscall.SIGPIPE)
}

// goOn has an agent go on when nobody reads any more what it writes, as where
// journald ended: that would end it in the middle of its work, and systemd takes
// SIGPIPE for a clean end, after which it starts nobody anew. Nor does Ctrl-Z stop
// it. The signals are caught and not ignored, as whatever it starts would be born
// ignoring them, too.
func goOn() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGTSTP)
}
