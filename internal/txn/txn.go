// Package txn applies or reverts one hotpatch in one process, atomically: the
// process is wholly old or wholly new, whatever happens to us. It decides when
// it is safe; the stopping and writing is done by ptrace, the reading by proc.
//
// A transaction has three phases. While the process runs: look at it, verify
// the bytes to be replaced, link the new code (plan.go). With one thread
// borrowed for a moment: map room for it and fill it (load.go). With all
// threads stopped: check every stack, write the entries, verify (swap.go).
// A journal inside the new mapping (journal.go) makes every state between
// recoverable by whoever comes next (recover.go).
package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// Options are the choices of one transaction. The zero value is the default.
type Options struct {
	Wait   time.Duration // how long to go on trying while the process is busy; 0: three seconds
	Log    *slog.Logger  // nil: silent
	Tables *Tables       // unwind data shared between calls; nil: none
	By     By            // noted in the process
	Turns  Turns         // one is held by who calls; nil: there are none

	// Consistency: "" as the bundle says, or Strict. A bundle cannot be made
	// independent that was not proved to be.
	Consistency patch.Mode

	// few is how many threads, all of them asleep, are stopped although a page could
	// be exchanged; 0: fewSleepers, less: none.
	few int
	// apart makes a loan of each call, as where threads run, also where they sleep.
	apart bool

	// step is told each point of a transaction: a test may kill us there, or
	// make what comes next fail.
	step func(point string) error
}

// By is who applies a hotpatch, for those who ask later.
type By struct {
	User string // a name; the uid is noted by itself
	Tool string // the tool's version
}

const defaultWait = 3 * time.Second

func (o Options) filled() Options {
	if o.Wait <= 0 {
		o.Wait = defaultWait
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tables == nil {
		o.Tables = &Tables{}
	}
	if o.few == 0 {
		o.few = fewSleepers
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
	return o
}

// Outcome is how one process fared.
type Outcome string

const (
	Applied  Outcome = "applied"  // verified in memory
	Reverted Outcome = "reverted" // verified in memory
	Already  Outcome = "already"  // nothing to do
	Skipped  Outcome = "skipped"  // does not map a base image; not ours to judge
	Busy     Outcome = "busy"     // a replaced function stayed on a stack
	Denied   Outcome = "refused"  // it is not safe or not allowed; untouched
	Failed   Outcome = "failed"   // an error; untouched or rolled back
	Died     Outcome = "died"     // the process ended meanwhile
)

// How says what became of the process while its code changed.
type How string

const (
	Stopped   How = "stopped"   // all of its threads stood still
	Exchanged How = "exchanged" // one was borrowed to exchange a page of code; none was stopped
)

// Result is the report on one process.
type Result struct {
	PID      int     `json:"pid"`
	Comm     string  `json:"comm"`
	Outcome  Outcome `json:"outcome"`
	Reason   string  `json:"reason"`
	Attempts int     `json:"attempts"`
	PausedUS int64   `json:"paused_us"` // how long running threads stood still at most, over all attempts
	TookUS   int64   `json:"took_us"`   // from the first look at the process to the last, waiting included
	Threads  int     `json:"threads"`   // stopped in the last attempt
	How      How     `json:"how,omitempty"`
	// Lingers says where replaced code is, or may be, still running when an
	// independent hotpatch has been applied: it finishes there. "": nowhere.
	Lingers string `json:"lingers,omitempty"`
	// Stack is that of the thread that kept the process busy, innermost first,
	// as file+offset.
	Stack []string `json:"stack,omitempty"`
}

// Refusal is why a process is left alone: it is not safe, or not allowed.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

func refuse(format string, args ...any) error {
	return &Refusal{fmt.Sprintf(format, args...)}
}

// skip is a process that the bundle has nothing to do with.
type skip struct{ reason string }

func (s *skip) Error() string { return s.reason }

// busy says that a stack kept the process from being changed.
type busy struct {
	reason string
	stack  []uint64 // the places on it, innermost first; nil: not known
}

func (b *busy) Error() string { return b.reason }

// errAlready: the process is as it was asked to be.
var errAlready = errors.New("already")

// Apply puts the bundle into the process. It never returns with the process
// stopped or half patched; ctx and Options.Wait bound how long it tries. A thread
// that was asked to stop and gets no processor to do so on is waited for beyond
// that, up to ten seconds: let go too early it would notice.
func Apply(ctx context.Context, pid int, b *patch.Bundle, o Options) Result {
	return carryOut(ctx, pid, Applied, o, func(r *run) error { return r.apply(b) })
}

// Revert takes the hotpatch out of the process. The mapping with its code
// stays (something may point to its constants) and is used again by the next
// Apply of the same hotpatch.
func Revert(ctx context.Context, pid int, id patch.ID, o Options) Result {
	return carryOut(ctx, pid, Reverted, o, func(r *run) error { return r.revert(id) })
}

// run is one call of Apply or Revert.
type run struct {
	*target
	ctx      context.Context
	o        Options
	deadline time.Time
	loans    ptrace.Loans
	loan     *ptrace.Loan // of a thread that stands by for more calls; nil: none does
	room     room         // for stubs, found already
	roomGone bool         // it is not what it was
	avoid    uint64       // the page that is to be exchanged, where no stub may lie
	attempts int
	stuck    []int         // threads that could not stop in the last attempt
	awaited  time.Duration // how long transfers were waited for
	paused   time.Duration
	stopped  int
	how      How
	lingers  string // where replaced code was on a stack when the entries were written
	unsure   bool   // a thread may still be about to exchange a page
}

func carryOut(ctx context.Context, pid int, done Outcome, o Options, do func(*run) error) (res Result) {
	o = o.filled()
	res = Result{PID: pid, Outcome: done}
	begin := time.Now()
	defer func() { res.TookUS = time.Since(begin).Microseconds() }()
	deadline := begin.Add(o.Wait)
	for leaving := 0; ; {
		again, err := once(ctx, deadline, o, &res, do)
		if err == nil {
			return res
		}
		// A leader that is about to end has no memory to show any more, and looks
		// as if it were protected; its threads have, as soon as it has ended.
		if !again && leaving < 20 && denied(err) && leaderEnds(pid) {
			leaving, again = leaving+1, true
		}
		if again && time.Now().Before(deadline) && ctx.Err() == nil {
			_ = o.Turns.rest(ctx, 5*time.Millisecond)
			continue
		}
		if res.Outcome != Died {
			res.Outcome, res.Reason = judge(res.PID, err)
		}
		return res
	}
}

// denied says whether the kernel kept us from something.
func denied(err error) bool {
	return errors.Is(err, ptrace.ErrDenied) || errors.Is(err, fs.ErrPermission)
}

// leaderEnds says whether the first thread of a process has begun to end, or has.
func leaderEnds(pid int) bool {
	const exiting = 0x4 // PF_EXITING
	s, err := proc.ReadStat(pid, pid)
	return err == nil && s.Flags&exiting != 0
}

// once tries with one look at the process. again: the look must be taken anew,
// because it started another program in the middle or could not be taken at all.
func once(ctx context.Context, deadline time.Time, o Options, res *Result, do func(*run) error) (again bool, err error) {
	t, err := openTarget(res.PID, o.Tables)
	if err != nil {
		if info, rerr := proc.Read(res.PID); rerr == nil {
			res.Comm = info.Comm
		}
		if errors.Is(err, proc.ErrGone) {
			res.Outcome, res.Reason = Died, err.Error()
		}
		return errors.Is(err, ptrace.ErrGone), err
	}
	defer t.close()
	res.Comm = t.info.Comm
	r := &run{target: t, ctx: ctx, o: o, deadline: deadline}
	defer r.loans.Close()
	defer r.endLoan()
	unlock, err := r.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	if err = t.free(); err == nil {
		err = t.meet()
	}
	if err == nil {
		err = do(r)
	}
	res.Attempts += r.attempts
	res.PausedUS += r.paused.Microseconds()
	res.Threads, res.Lingers, res.How = r.stopped, r.lingers, r.how
	if err == nil || errors.Is(err, errAlready) {
		return false, err
	}
	if b := (*busy)(nil); errors.As(err, &b) {
		if r.attempts == 0 {
			return true, err // it shares its memory with a child, for a moment
		}
		res.Stack = t.places(b.stack)
	}
	// A process that ends while it is worked on fails in many ways.
	if t.changed() || errors.Is(err, errDumping) {
		res.Outcome, res.Reason = Died, "the process ended: "+err.Error()
		return false, err
	}
	if errors.Is(err, ptrace.ErrGone) || errors.Is(err, proc.ErrGone) || errors.Is(err, ptrace.ErrReplaced) || t.replaced() {
		return true, fmt.Errorf("it started another program meanwhile: %w", err)
	}
	return false, err
}

// judge turns an error into an outcome.
func judge(pid int, err error) (Outcome, string) {
	var (
		r *Refusal
		s *skip
		b *busy
	)
	switch {
	case errors.Is(err, errAlready):
		return Already, ""
	case errors.As(err, &s):
		return Skipped, s.reason
	case errors.As(err, &r):
		return Denied, r.Reason
	case errors.As(err, &b):
		return Busy, b.reason
	case denied(err):
		return Denied, denial(pid)
	}
	return Failed, err.Error()
}
