package ptrace

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Lister lists the thread ids of the process. Package proc has one; it is
// passed in because the two packages do not know each other.
type Lister func() ([]int, error)

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
	patient time.Time // how long threads that wait for a processor may keep us waiting
	Threads []Thread  // the stopped ones, in the order they stopped
}

type threadState uint8

const (
	running threadState = iota // seized, not stopped yet
	stopped
	gone
)

// Seize begins to trace every thread. Nothing stops yet. Threads that are
// created meanwhile by a seized thread are traced from their first
// instruction on. On an error the caller still calls Release.
func (t *Tracer) Seize(list Lister) (*Group, error) {
	g := &Group{t: t, list: list, state: map[int]threadState{}}
	return g, g.seizeNew()
}

// seizeNew seizes the threads that it has not seen, until a listing shows none.
func (g *Group) seizeNew() error {
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
			err := g.t.seize(tid, unix.PTRACE_O_TRACECLONE)
			switch {
			case err == nil:
				g.state[tid] = running
				added = true
			case errors.Is(err, ErrGone):
			case errors.Is(err, ErrDenied):
				// Either the kernel attached it to us when it was cloned, it
				// is a zombie, or it is not ours to trace.
				mine, dead := g.t.tracedByUs(tid)
				if mine {
					g.state[tid] = running
					added = true
				} else if dead {
					g.state[tid] = gone
				} else {
					return fmt.Errorf("seize thread %d: %w", tid, err)
				}
			default:
				return fmt.Errorf("seize thread %d: %w", tid, err)
			}
		}
		if !added {
			return nil
		}
	}
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
	if err := g.stop(batch, deadline); err != nil {
		return nil, err
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
			if s == running {
				batch = append(batch, tid)
			}
		}
		if err := g.stop(batch, deadline); err != nil {
			return nil, err
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

func (g *Group) stop(batch []int, deadline time.Time) error {
	for _, tid := range batch {
		if err := g.t.interrupt(tid); errors.Is(err, ErrGone) {
			continue // wait tells: exited, or it stands in its first stop already
		} else if err != nil {
			return fmt.Errorf("interrupt thread %d: %w", tid, err)
		}
	}
	for _, tid := range batch {
		if err := g.await(tid, deadline); err != nil {
			return err
		}
	}
	return nil
}

// starved is how long threads that are ready to run may keep us waiting, all
// together.
const starved = 100 * time.Millisecond

func (g *Group) await(tid int, deadline time.Time) error {
	s, err := g.t.wait(tid, deadline)
	if errors.Is(err, ErrTimeout) {
		switch stateOf(tid) {
		case 'R':
			// It only waits for a processor, as on a host with more work than
			// processors; giving up would not bring it one sooner.
			if g.patient.IsZero() {
				g.patient = time.Now().Add(starved)
			}
			s, err = g.t.wait(tid, g.patient)
		case 'Z':
			err = ErrGone // a leader that ended before its threads: it never reports
		}
	}
	if errors.Is(err, ErrGone) {
		g.state[tid] = gone
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop thread %d: %w", tid, err)
	}
	g.state[tid] = stopped
	regs, err := g.t.regs(tid)
	if errors.Is(err, ErrGone) { // killed in its stop
		g.state[tid] = gone
		return nil
	}
	if err != nil {
		g.Threads = append(g.Threads, Thread{TID: tid, Stop: s})
		return fmt.Errorf("read registers of thread %d: %w", tid, err)
	}
	th := Thread{TID: tid, Regs: regs, Stop: s}
	if hideStop(&regs, s) {
		// At once, so that it holds even if we are killed in the next moment.
		// Where it fails the thread is dying.
		_ = g.t.setRegs(tid, &regs)
	}
	g.Threads = append(g.Threads, th)
	return nil
}

// Release lets every thread go on as if it had never stopped, the last stopped
// first. A second call does nothing.
func (g *Group) Release() {
	for i := len(g.Threads) - 1; i >= 0; i-- {
		g.t.letGo(g.Threads[i].TID, g.Threads[i].Stop)
	}
	for tid, s := range g.state {
		if s == running {
			g.t.letGoLate(tid)
		}
	}
	g.t.letGoUnlisted()
	g.Threads, g.state = nil, nil
}

// letGoUnlisted releases what the kernel attached to us behind our back: a
// thread cloned by a traced one that no listing of ours has shown.
func (t *Tracer) letGoUnlisted() {
	for {
		var ws int32
		r, _, e := unix.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&ws)), unix.WNOHANG|unix.WALL|unix.WNOTHREAD, 0, 0, 0)
		if e != 0 || r == 0 {
			return
		}
		if s := unix.WaitStatus(ws); s.Stopped() {
			t.letGo(int(r), decodeStop(s))
		}
	}
}

// letGo detaches a stopped thread.
func (t *Tracer) letGo(tid int, s Stop) {
	sig := unix.Signal(0)
	if s.Kind == Delivery {
		sig = s.Signal
	}
	if err := t.detach(tid, sig); err != nil && !errors.Is(err, ErrGone) {
		t.abandoned = true
	}
}

// lateStop is how long a thread that missed its deadline is waited for, while
// the others run again.
const lateStop = 400 * time.Millisecond

// letGoLate releases a seized thread that has not been seen to stop. It cannot
// be detached before it stops; one that still does not is released by the
// kernel when Run ends this thread.
func (t *Tracer) letGoLate(tid int) {
	_ = t.interrupt(tid) // it may have none pending; what fails here fails below
	s, err := t.wait(tid, time.Now().Add(lateStop))
	if errors.Is(err, ErrGone) {
		return
	}
	if err != nil {
		t.abandoned = true
		return
	}
	if r, err := t.regs(tid); err == nil && hideStop(&r, s) {
		_ = t.setRegs(tid, &r)
	}
	t.letGo(tid, s)
}
