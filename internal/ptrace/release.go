package ptrace

import (
	"errors"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How stopped threads are let go, and those that were asked to stop and do not stand
// yet.

// LetGo is the first part of Release: it lets go of the threads that stand. What
// has not stopped yet is left to Release, which may wait for it.
// Those that ran go first: they stopped last. From then on a filter may come, so of
// those that slept one is asked now and then; where it has got one, the others are, too.
func (g *Group) LetGo() {
	const askAgain = 32
	came, trusted := false, 0
	for i := len(g.Threads) - 1; i >= 0; i-- {
		th := &g.Threads[i]
		if th.Stop.rests && (came || trusted == 0) {
			came, trusted = g.t.rehide(th.TID, &th.Regs, th.Stop) || came, askAgain
		}
		trusted = max(0, trusted-1)
		g.t.letGo(th.TID, th.Stop)
	}
	g.Threads = nil
}

// Release lets every thread go on as if it had never stopped, the last stopped
// first. A second call does nothing.
func (g *Group) Release() {
	g.LetGo()
	defer g.t.buryMeanwhile(g.list)()
	var late, unasked []int
	for tid, s := range g.state {
		switch s {
		case asked:
			late = append(late, tid)
		case running:
			// Left traced it would stand from its next signal on, while the others
			// are waited for.
			b, err := status(strconv.Itoa(tid))
			if err != nil && !notThere(err) || notToBeAsked(b) {
				g.t.abandoned = true // our end lets it go without a stop
				continue
			}
			unasked = append(unasked, tid)
		}
	}
	// A few at a time, for the reason that stop has.
	for few := range slices.Chunk(unasked, fewAtATime) {
		for _, tid := range few {
			_ = g.t.interrupt(tid)
		}
		for looks := 0; looks < 2*polls && len(few) > 0; looks++ {
			if few = slices.DeleteFunc(few, g.t.letGoIfStopped); looks >= polls && len(few) > 0 {
				nap(shortNap)
			}
		}
		late = append(late, few...)
	}
	g.t.letGoLate(g.t.letGoUnlisted, late...) // those have stood since they began
	g.t.letGoUnlisted()
	g.Threads, g.state = nil, nil
}

// letGoUnlisted releases what the kernel attached to us behind our back: a
// thread or process that a traced one has started and no listing of ours shows.
func (t *Tracer) letGoUnlisted() {
	for {
		tid := firstStopped()
		if tid == 0 {
			return
		}
		if mine, _ := t.tracedByUs(tid); !mine {
			return
		}
		s, there, err := t.poll(tid)
		if err != nil || !there {
			return
		}
		if r, err := t.regs(tid); err == nil {
			t.hide(tid, &r, &s)
		}
		t.letGo(tid, s)
	}
}

// firstStopped is a thread whose stop nobody has taken yet, 0 if there is none.
// It only looks: this OS thread may have started commands for others before it
// became a tracer, and those wait for them themselves.
func firstStopped() int {
	var info unix.Siginfo
	const options = unix.WSTOPPED | unix.WNOHANG | unix.WNOWAIT | unix.WALL | unix.WNOTHREAD
	_, _, e := unix.RawSyscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), options, 0, 0)
	if e != 0 || info.Signo == 0 {
		return 0
	}
	// siginfo_t of SIGCHLD: si_pid is the first field behind the common ones.
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16)))
}

// letGo detaches a stopped thread.
func (t *Tracer) letGo(tid int, s Stop) {
	sig := unix.Signal(0)
	if s.Kind == Delivery {
		sig = s.Signal
	}
	switch err := t.detach(tid, sig); {
	case errors.Is(err, ErrGone):
		t.bury(tid)
	case err != nil:
		t.abandoned = true
	}
}

// bury takes note of the end of a thread that has been killed in our hands. Until
// its tracer has done so or is gone, the kernel lets its process neither end nor
// start another program (de_thread). One that is still on its way is left to the
// end of our own thread.
func (t *Tracer) bury(tid int) {
	if !hasEnded(tid) {
		t.abandoned = true
		return
	}
	_, _, _ = t.poll(tid)
}

const (
	// lateStop is how long a thread that missed its deadline is waited for, while
	// the others run again, and lateStarved how long if it only waits for a
	// processor: under a processor limit (cgroup) or beside real-time threads
	// that can be seconds. Nobody is held up by that but the caller, and who waits
	// for its turn.
	lateStop    = 400 * time.Millisecond
	lateStarved = 10 * time.Second
)

// letGoLate releases threads that were asked to stop and have not been seen to. They cannot
// be detached before they stop; one that still does not is released by the
// kernel when Run ends this thread, and sees an EINTR then if it was in
// epoll_wait or its kin: its stop is never hidden. meanwhile is called now and
// then.
func (t *Tracer) letGoLate(meanwhile func(), tids ...int) {
	begin, sleep := time.Now(), shortNap
	for looks := 1; ; looks++ {
		tids = slices.DeleteFunc(tids, t.letGoIfStopped)
		if len(tids) == 0 {
			return
		}
		if looks > polls {
			nap(sleep)
		}
		if looks%64 == 0 {
			sleep = min(2*sleep, time.Millisecond)
		}
		if looks%8 == 0 && meanwhile != nil {
			meanwhile()
		}
		if waited := time.Since(begin); looks%8 == 0 && waited > lateStop {
			given := len(tids)
			tids = slices.DeleteFunc(tids, func(tid int) bool { return waited > lateStarved || !isReady(tid) })
			t.abandoned = t.abandoned || len(tids) < given
		}
	}
}

// letGoIfStopped releases a seized thread if it stands by now. It says whether
// there is nothing more to be done about it.
func (t *Tracer) letGoIfStopped(tid int) (done bool) {
	s, there, err := t.poll(tid)
	switch {
	case errors.Is(err, ErrGone):
		return true
	case err != nil:
		t.abandoned = true
		return true
	case !there:
		return false
	}
	if r, err := t.regs(tid); err == nil {
		t.hide(tid, &r, &s)
	}
	t.letGo(tid, s)
	return true
}

// isReady says whether a thread that was asked to stop only waits for a
// processor, or stands already and was not looked at since. One whose state
// cannot be read may: who is given up before it stands would see the stop.
func isReady(tid int) bool {
	s, err := stateOf(tid)
	return err != nil || s == 'R' || s == 't'
}
