package ptrace

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lister lists the thread ids of the process. Package proc has one; it is
// passed in because the two packages do not know each other.
type Lister func() ([]int, error)

// Counter says how many threads the process has.
type Counter func() (int, error)

// Thread is one stopped thread.
type Thread struct {
	TID  int
	Regs Regs
	Stop Stop
}

// Group is all threads of a process, traced by us.
type Group struct {
	t       *Tracer
	list    Lister
	state   map[int]threadState
	count   Counter   // nil: threads are listed
	patient time.Time // how long threads that wait for a processor may keep us waiting
	born    []int     // what threads of it have started since: threads, and processes
	Threads []Thread  // the stopped ones, in the order they stopped
}

type threadState uint8

const (
	running threadState = iota // seized, and not asked to stop
	asked                      // to stop, and does not stand yet
	stopped
	gone
)

// Group is for the threads that are listed. None is traced yet. The caller calls
// Release in any case.
func (t *Tracer) Group(list Lister) *Group {
	var mu sync.Mutex // buryMeanwhile lists, too
	t.asked = 0
	return &Group{t: t, state: map[int]threadState{}, list: func() ([]int, error) {
		mu.Lock()
		defer mu.Unlock()
		return list()
	}}
}

// Seize is Group and SeizeAll. On an error the caller still calls Release.
func (t *Tracer) Seize(list Lister) (*Group, error) {
	g := t.Group(list)
	return g, g.SeizeAll()
}

// SeizeAll begins to trace every thread. Nothing stops yet. What a seized thread
// starts from then on, threads and processes, is traced from its first
// instruction on, and both stand until Release.
func (g *Group) SeizeAll() error {
	err := g.seizeNew()
	// Room for all of them, and memory under it: not while they stand still.
	g.Threads = slices.Grow(g.Threads, max(0, len(g.state)+8-len(g.Threads)))
	clear(g.Threads[len(g.Threads):cap(g.Threads)])
	return err
}

// SeizeSome is SeizeAll for some of the threads. One that has ended is left out.
func (g *Group) SeizeSome(tids []int) error {
	defer g.t.buryMeanwhile(g.list)()
	for _, tid := range tids {
		if _, err := g.seize(tid); err != nil {
			return err
		}
	}
	return nil
}

// CountWith lets StopAll count the threads where it would list them, which
// takes longer the more there are. A counter that does not agree with what was
// seized is not used.
func (g *Group) CountWith(count Counter) {
	if n, err := count(); err == nil && n == len(g.state) {
		g.count = count
	}
}

// complete says whether the process has no thread but those that stand: as many
// as stand. None of them can have left the process since, and a new one counts
// from the moment it exists, as it is traced. Where anything else shows, such as
// a leader that has ended, the listing tells.
func (g *Group) complete() bool {
	if g.count == nil {
		return false
	}
	n, err := g.count()
	return err == nil && n == len(g.Threads)
}

// seizeNew seizes the threads that it has not seen, until a listing shows none.
func (g *Group) seizeNew() error {
	defer g.t.buryMeanwhile(g.list)()
	for {
		tids, err := g.list()
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		added := false
		for _, tid := range tids {
			if _, known := g.state[tid]; known {
				continue
			}
			more, err := g.seize(tid)
			if err != nil {
				return err
			}
			added = added || more
		}
		if !added {
			return nil
		}
	}
}

// seize says whether the group has one thread more now.
func (g *Group) seize(tid int) (added bool, err error) {
	err = g.t.seize(tid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK)
	dead := false
	switch {
	case errors.Is(err, ErrGone):
		return false, nil
	case errors.Is(err, ErrDenied):
		// Either the kernel attached it to us when it was cloned, it is a zombie, or
		// it is not ours to trace.
		var mine bool
		if mine, dead = g.t.tracedByUs(tid); mine {
			err = nil
		}
	}
	switch {
	case err == nil:
		g.state[tid] = running
		g.t.have(tid)
		return true, nil
	case dead:
		g.state[tid] = gone
		return false, nil
	}
	return false, fmt.Errorf("seize thread %d: %w", tid, err)
}

// Traced says whether the group has the thread.
func (g *Group) Traced(tid int) bool {
	_, known := g.state[tid]
	return known
}

// StopSome halts those of the given threads that are traced and still run, and
// returns them. A thread that has ended meanwhile is left out.
// On an error the caller still calls Release.
func (g *Group) StopSome(tids []int, deadline time.Time) ([]Thread, error) {
	from := len(g.Threads)
	var batch []int
	for _, tid := range tids {
		if s, known := g.state[tid]; known && s == running {
			batch = append(batch, tid)
		}
	}
	if err := g.stop(batch, fewAtATime, polls, deadline); err != nil {
		return nil, err
	}
	return g.Threads[from:], nil
}

// StopAwake is StopSome for threads in uninterruptible sleep: each is asked to stop
// when it has left that. One that is asked before would not stop however long it is
// waited for, as in a frozen cgroup, and see later that it had to. The first is
// waited for, and once one stands the others for hold at most.
func (g *Group) StopAwake(tids []int, wait, hold time.Duration) (quiet []Thread, err error) {
	from, deadline := len(g.Threads), time.Now().Add(wait)
	for len(tids) > 0 {
		var awake, stuck []int
		for _, tid := range tids {
			s, err := stateOf(tid)
			if err != nil {
				return nil, err
			}
			if s == 'D' {
				stuck = append(stuck, tid)
			} else {
				awake = append(awake, tid)
			}
		}
		if _, err := g.StopSome(awake, deadline); err != nil {
			return nil, err
		}
		if len(g.Threads) > from && hold > 0 {
			if last := time.Now().Add(hold); last.Before(deadline) {
				deadline = last
			}
			hold = 0
		}
		if tids = stuck; len(awake) > 0 || len(stuck) == 0 {
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("stop thread %d: %w", stuck[0], ErrTimeout)
		}
		g.t.buryEnded(g.list) // one that starts another program waits for the others' end
		nap(shortNap)
	}
	return g.Threads[from:], nil
}

// StopAll halts every thread that still runs, repeating until a listing shows
// no new one: a thread may clone between our reading of the list and its own
// stop. It returns the threads that this call stopped.
// On an error the caller still calls Release.
func (g *Group) StopAll(deadline time.Time) ([]Thread, error) {
	from := len(g.Threads)
	for {
		var batch []int
		for tid, s := range g.state {
			if s == running || s == asked {
				batch = append(batch, tid)
			}
		}
		if err := g.stop(batch, len(batch), max(polls, manyPolls/max(1, len(batch))), deadline); err != nil {
			return nil, err
		}
		if g.complete() {
			break
		}
		before := len(g.state)
		if err := g.seizeNew(); err != nil {
			return nil, err
		}
		if len(g.state) == before {
			break
		}
	}
	if len(g.Threads) == 0 {
		return nil, ErrGone
	}
	return g.Threads[from:], nil
}

// fewAtATime is how many sleeping threads are on their way to a stop at the same
// time, at first: enough to keep a few processors busy with them.
const fewAtATime = 8

// stop interrupts the threads, window of them at a time, and takes each as soon
// as it stands, in whatever order they come.
//
// A thread that has been woken from epoll_wait or its kin, and whose stop is
// not hidden yet, sees an EINTR if we are killed now: hence the window. It
// widens where threads do not come at once, because they wait for a processor
// or cannot stop at all: the others shall not wait for them.
//
// A thread is looked for so many times before the first nap; where one was
// needed, threads wait for our processor, and get it sooner from then on.
func (g *Group) stop(batch []int, window, patience int, deadline time.Time) error {
	var coming []int
	for looks, naps := 0, 0; ; {
		for len(batch) > 0 && len(coming) < window {
			// Where it is gone, poll tells: it has ended, or stands in its first stop.
			if err := g.t.interrupt(batch[0]); err != nil && !errors.Is(err, ErrGone) {
				return fmt.Errorf("interrupt thread %d: %w", batch[0], err)
			}
			g.state[batch[0]] = asked
			coming, batch = append(coming, batch[0]), batch[1:]
		}
		if len(coming) == 0 {
			return nil
		}
		before := len(coming)
		var err error
		if coming, err = g.take(coming); err != nil {
			return err
		}
		if len(coming) < before {
			looks, naps = 0, 0
			continue
		}
		if looks++; looks < patience {
			continue
		}
		patience = polls
		nap(shortNap)
		if naps++; naps%4 == 0 {
			window = min(2*window, len(coming)+len(batch))
		}
		if naps%16 == 0 { // one that starts another program waits for the others' end
			g.t.buryEnded(g.list)
		}
		if naps%8 == 0 && time.Now().After(deadline) {
			if coming, err = g.late(coming); err != nil {
				return err
			}
		}
	}
}

// take looks once at each thread and returns those that have not stopped yet.
func (g *Group) take(tids []int) (coming []int, err error) {
	coming = tids[:0]
	for _, tid := range tids {
		s, there, err := g.t.poll(tid)
		switch {
		case errors.Is(err, ErrGone):
			g.state[tid] = gone
		case err != nil:
			return nil, fmt.Errorf("stop thread %d: %w", tid, err)
		case !there:
			coming = append(coming, tid)
		default:
			if err := g.arrived(tid, s); err != nil {
				return nil, err
			}
		}
	}
	return coming, nil
}

// starved is how long threads that are ready to run may keep us waiting, all
// together.
const starved = 100 * time.Millisecond

// late decides about threads that have not stopped when they should have, and
// returns those that may still be waited for.
func (g *Group) late(tids []int) (coming []int, err error) {
	coming = tids[:0]
	for _, tid := range tids {
		s, err := stateOf(tid)
		if err != nil {
			return nil, err
		}
		if s == 'Z' {
			g.state[tid] = gone // a leader that ended before its threads: it never reports
			continue
		}
		if !isReady(tid) {
			return nil, fmt.Errorf("stop thread %d: %w", tid, ErrTimeout)
		}
		// As on a host with more work than processors; giving up would not bring it
		// one sooner.
		if g.patient.IsZero() {
			g.patient = time.Now().Add(starved)
		}
		if time.Now().After(g.patient) {
			return nil, fmt.Errorf("stop thread %d: %w", tid, ErrStarved)
		}
		coming = append(coming, tid)
	}
	return coming, nil
}

// arrived notes a thread that stands, and hides that from it at once, so that
// this holds even if we are killed in the next moment.
func (g *Group) arrived(tid int, s Stop) error {
	g.state[tid] = stopped
	if s.Kind == Event {
		if id, err := g.t.eventMessage(tid); err == nil { // else killed in its stop
			g.born = append(g.born, id)
		}
	}
	regs, err := g.t.regs(tid)
	if errors.Is(err, ErrGone) { // killed in its stop
		g.state[tid] = gone
		return nil
	}
	if err != nil {
		g.Threads = append(g.Threads, Thread{TID: tid, Stop: s})
		return fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	th := Thread{TID: tid, Regs: regs}
	g.t.hide(tid, &regs, &s)
	th.Stop = s
	g.Threads = append(g.Threads, th)
	return nil
}

// Born lists the processes that stopped threads have started since Seize, but
// for vfork, during which the parent cannot stop. Which may be threads that ended
// at once.
func (g *Group) Born() (pids []int) {
	for _, id := range g.born {
		if _, thread := g.state[id]; !thread {
			pids = append(pids, id)
		}
	}
	return pids
}

// RunsIn says whether the stopped threads run in memory that begins with text at
// the address. It is asked of them, not of a Mem: that stays with the memory
// which the process had when it was opened.
func (g *Group) RunsIn(at uint64, text [8]byte) bool {
	if len(g.Threads) == 0 {
		return false
	}
	now, err := g.t.word(g.Threads[len(g.Threads)-1].TID, at)
	return err == nil && now == text
}
