package txn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/unwind"
)

// edit replaces five bytes of an entry.
type edit struct {
	addr     uint64
	from, to [5]byte
}

// guard is code that must not be running, nor waited for by any stack, while
// the entries change.
type guard struct {
	lo, hi uint64
	name   string
}

// change is what one stop of the process does. before and after are the
// journal's phases around the writes.
type change struct {
	journal       uint64
	before, after phase
	edits         []edit
	guards        []guard
	// least are the guards that must be clear even where old code may finish;
	// nil: that is not allowed.
	least []guard
	// expect is what the code around the edits must be when they are made, and
	// images are what must still be loaded: between our looking and the stop
	// the process may have unloaded a library and mapped something else there.
	expect []snapshot
	images []region
	retire []uint64 // journals of hotpatches that this one replaces
}

// snapshot is what some memory held.
type snapshot struct {
	addr uint64
	data []byte
}

const (
	// stopBudget bounds one attempt to stop all threads. A thread in vfork
	// cannot stop; a longer wait would hold up all the others. Each sleeping
	// thread has to be woken for it (10 to 15 µs on an idle host).
	stopBudget          = 10 * time.Millisecond
	stopBudgetPerThread = 50 * time.Microsecond

	// stuckBudget bounds the wait for threads in uninterruptible sleep, while
	// which everything else runs, and nobody else is traced.
	stuckBudget = 200 * time.Millisecond

	// patience is how long an independent hotpatch is tried strictly.
	patience = 250 * time.Millisecond

	// The pauses between attempts grow: each stop restarts the time-outs of
	// threads that sleep in epoll_wait and the like, so that shorter ones would
	// not end for as long as we try.
	firstBackoff = time.Millisecond
	lastBackoff  = 512 * time.Millisecond
)

// swap carries out c as soon as no thread is in its guards, or fails when the
// deadline has passed. The process runs on between attempts.
//
// Unwind data is read only when a first attempt met a stack that scanning
// cannot clear: most stacks it can, and the data of a large program takes
// longer to read than everything else together.
func (r *run) swap(c change) error {
	r.endLoan()
	if err := r.own(); err != nil {
		return err
	}
	tracer := new(ptrace.Loans) // one for each attempt: see there
	tracer.Begin()
	defer func() { tracer.Close() }()
	if err := r.touch(c.edits); err != nil {
		return err
	}
	trampolines, err := r.trampolines()
	if err != nil {
		return err
	}
	var space *unwind.Space
	// Where old code may finish, new code from the start is better still: most
	// calls are over in a moment.
	content := time.Now().Add(min(time.Until(r.deadline)/4, patience))
	for backoff := firstBackoff; ; {
		k := newChecker(r.target, space, c.guards, trampolines)
		if c.least != nil && time.Now().After(content) {
			k.least = newChecker(r.target, space, c.least, trampolines)
		}
		err := tracer.Run(func(t *ptrace.Tracer) error { return r.attempt(t, c, k) })
		tracer.Close()
		r.lingers = k.lingers
		var b *busy
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNeedsUnwinding):
			if space, err = r.space(); err != nil {
				return err
			}
			continue
		case errors.Is(err, ptrace.ErrTimeout):
			err = &busy{reason: fmt.Sprintf("%v: it is in uninterruptible sleep, frozen, or waits for a vfork child", err)}
		case errors.Is(err, ptrace.ErrStarting):
			err = &busy{reason: fmt.Sprintf("%v, which takes long", err)}
		case errors.Is(err, ptrace.ErrStarved):
			err = &busy{reason: fmt.Sprintf("%v: too much else runs, or the processor limit of its cgroup is used up", err)}
		case errors.Is(err, ptrace.ErrGone) && !r.changed():
			err = &busy{reason: "its threads come and go too quickly to be stopped"}
		case !errors.As(err, &b):
			return err
		}
		if c.least != nil && k.least == nil {
			backoff = min(backoff, max(time.Until(content), firstBackoff)) // then it may be done
		}
		if time.Now().Add(backoff).After(r.deadline) {
			return err
		}
		if perr := r.pause(backoff); perr != nil {
			return err // the reason why it is busy says more than "cancelled"
		}
		backoff = min(2*backoff, lastBackoff)
		if err := r.refresh(); err != nil {
			return err
		}
		for _, g := range c.images {
			if !g.loaded(r.modules) {
				return fmt.Errorf("%s was unloaded meanwhile", g.Path)
			}
		}
		if trampolines, err = r.trampolines(); err != nil {
			return err
		}
		if space != nil {
			if space, err = r.space(); err != nil {
				return err
			}
		}
	}
}

// touch writes the bytes that are there already, so that the kernel makes the
// private copies of the pages now and not during the stop. Not where an image may be
// unloaded between our looking and the write, which would then be to whatever is
// mapped there next: that costs those who stand a page or two.
func (r *run) touch(edits []edit) error {
	for _, e := range edits {
		if err := r.expect(e.addr, e.from); err != nil {
			return err
		}
		i := slices.IndexFunc(r.modules, func(m proc.Module) bool { return e.addr >= m.Lo() && e.addr < m.Hi() })
		if i < 0 || r.stays(r.modules[i]) != nil {
			continue
		}
		if _, err := r.mem.WriteAt(e.from[:], int64(e.addr)); err != nil {
			return fmt.Errorf("make code writable (does the kernel set proc_mem.force_override?): %w", err)
		}
	}
	return nil
}

func (r *run) expect(addr uint64, want [5]byte) error {
	var now [5]byte
	if _, err := r.mem.ReadAt(now[:], int64(addr)); err != nil {
		return err
	}
	if now != want {
		return refuse("the entry at %#x holds % x instead of % x: something else changes this process's code", addr, now, want)
	}
	return nil
}

// attempt is one stop of the whole process.
//
// Threads that sleep are stopped and checked first: they do not notice, and
// theirs is most of the work in a process with many threads. Those that run
// stand still only for their own stops and checks and for the writes. Before
// all others come those that cannot stop now, as in vfork: only they are
// waited for while the process goes on.
func (r *run) attempt(t *ptrace.Tracer, c change, k *checker) error {
	r.attempts++
	tasks, err := proc.OpenTasks(r.info.PID)
	if err != nil {
		return err
	}
	defer tasks.Close()
	users := &userThreads{tasks: tasks, pid: r.info.PID}
	list := users.list
	if _, err := list(); err != nil {
		return err
	}
	if err := r.awaitDelicate(users.delicate); err != nil {
		return err
	}
	g := t.Group(list)
	defer g.Release()
	early, err := r.stopStuck(g, tasks, list)
	if err != nil {
		return err
	}
	if err := g.SeizeAll(); err != nil {
		return err
	}
	users.allTraced()
	g.CountWith(tasks.Count)
	if err := r.notDumping(); err != nil {
		return err
	}
	if err := r.o.step("seized"); err != nil {
		return err
	}
	known, err := list()
	if err != nil {
		return err
	}
	stuck, asleep, err := idle(tasks, known)
	if err != nil {
		return err
	}
	// Of threads that appear later the mappings do not tell where stacks end.
	if k.maps, err = proc.Maps(r.info.PID); err != nil {
		return err
	}
	if k.least != nil {
		k.least.maps, k.least.known = k.maps, k.known
	}
	// Whatever the threads that are born from now on start is traced, as they are. A
	// worker of the kernel starts nothing, but inherits the children of a thread that ends.
	relatives, err := r.sharing(tasks.Children(append(users.workers(), known...)))
	if err != nil {
		return err
	}
	for _, tid := range known {
		k.known[tid] = g.Traced(tid)
	}
	quiet, err := g.StopAwake(stuck, stopBudget, stopBudget)
	if err != nil {
		r.stuck, _, _ = idle(tasks, stuck) // only a better order, next time
		return err
	}
	if err := k.check(append(early, quiet...)); err != nil {
		return err
	}
	budget := stopBudget + time.Duration(len(asleep))*stopBudgetPerThread
	if quiet, err = g.StopSome(asleep, time.Now().Add(budget)); err != nil {
		return err
	}
	if err := k.check(quiet); err != nil {
		return err
	}
	if err := r.o.step("sleepers-stopped"); err != nil {
		return err
	}
	begin := time.Now()
	defer func() { r.paused += time.Since(begin) }()
	defer g.LetGo() // within the measured time; who has not stopped does not stand
	rest, err := g.StopAll(time.Now().Add(budget))
	if err != nil {
		return err
	}
	r.stopped, r.how = len(g.Threads), Stopped
	if err := r.o.step("stopped"); err != nil {
		return err
	}
	if err := k.check(rest); err != nil {
		return err
	}
	// Of those that stand: the first thread may have ended, and has no memory then.
	if len(g.Threads) > 0 {
		if err := sharesMemory(g.Threads[0].TID, append(relatives, g.Born()...)); err != nil {
			return err
		}
	}
	// It may have started another program and left this memory to others, such as
	// a child cloned with CLONE_VM: they were not stopped.
	if !g.RunsIn(c.journal, [8]byte([]byte(journalMagic))) {
		return ptrace.ErrReplaced
	}
	return r.write(c)
}

// stopStuck stops the threads of which the last attempt could not stop all, and
// returns them. Nobody else is traced yet: a traced thread stands from its next
// signal on, or its next clone, until somebody looks at it. Nor does one that can
// stop wait long for one that cannot.
func (r *run) stopStuck(g *ptrace.Group, tasks *proc.Tasks, list ptrace.Lister) ([]ptrace.Thread, error) {
	if len(r.stuck) == 0 {
		return nil, nil
	}
	still, err := list()
	if err != nil {
		return nil, err
	}
	r.stuck = slices.DeleteFunc(r.stuck, func(tid int) bool { return !slices.Contains(still, tid) })
	if err := g.SeizeSome(r.stuck); err != nil {
		return nil, err
	}
	if err := r.notDumping(); err != nil {
		return nil, err
	}
	early, err := g.StopAwake(r.stuck, stuckBudget, stopBudget)
	r.stuck, _, _ = idle(tasks, r.stuck)
	return slices.Clone(early), err
}

// notDumping fails where a thread writes a core dump. One that is traced begins none
// unseen, since its signal is shown to us first.
func (r *run) notDumping() error {
	switch info, err := proc.Read(r.info.PID); {
	case errors.Is(err, proc.ErrGone):
		return nil // which shows at the next step
	case err != nil:
		return err
	case info.Dumping:
		return errDumping
	}
	return nil
}

// idle lists the threads that are best stopped before the others: those in
// uninterruptible sleep, and those that sleep.
func idle(tasks *proc.Tasks, tids []int) (stuck, asleep []int, err error) {
	for _, tid := range tids {
		switch s, err := tasks.State(tid); {
		case errors.Is(err, proc.ErrGone): // the listing after the stop will tell
		case err != nil:
			return nil, nil, err
		case s == 'D':
			stuck = append(stuck, tid)
		case s == 'S':
			asleep = append(asleep, tid)
		}
	}
	return stuck, asleep, nil
}

// sharing leaves of children those that share the process's memory: before the stop,
// since there may be many, and one that does not never will. All of them may where the
// thread that they were compared with has ended meanwhile.
func (r *run) sharing(children []int, err error) ([]int, error) {
	if err != nil || len(children) == 0 {
		return nil, err
	}
	live := r.info.Live
	some := slices.DeleteFunc(slices.Clone(children), func(pid int) bool { return sharesMemory(live, []int{pid}) == nil })
	if s, err := proc.ThreadState(r.info.PID, live); err != nil || s == 'Z' || s == 'X' || s == 'x' {
		return children, nil
	}
	return some, nil
}

// write is called with every thread stopped and every stack checked. It leaves
// the process wholly changed or wholly as it was.
func (r *run) write(c change) (err error) {
	if err := r.expectAll(c); err != nil {
		return err
	}
	was, err := r.readPhase(c.journal)
	if err != nil {
		return err
	}
	written := 0
	defer func() {
		if err == nil {
			return
		}
		// The last one first: what leads through padding must not outlive that.
		for _, e := range slices.Backward(c.edits[:written]) {
			if _, uerr := r.mem.WriteAt(e.from[:], int64(e.addr)); uerr != nil {
				err = fmt.Errorf("%w; setting the entry at %#x back: %w", err, e.addr, uerr)
				return // the journal tells what is there
			}
		}
		if uerr := r.writePhase(c.journal, was); uerr != nil {
			err = fmt.Errorf("%w; %w", err, uerr)
		}
	}()
	if was != c.before { // each write costs those who stand two microseconds
		if err := r.writePhase(c.journal, c.before); err != nil {
			return err
		}
	}
	for _, e := range c.edits {
		written++
		if _, err := r.mem.WriteAt(e.to[:], int64(e.addr)); err != nil {
			return err
		}
		if err := r.o.step("entry-written"); err != nil {
			return err
		}
	}
	for _, e := range c.edits {
		if err := r.expect(e.addr, e.to); err != nil {
			return err
		}
	}
	if err := r.o.step("entries-verified"); err != nil {
		return err
	}
	if err := r.writePhase(c.journal, c.after); err != nil {
		return err
	}
	for _, at := range c.retire {
		// Should this not happen any more, the next look finds that none of its
		// entries is in force, which comes to the same.
		if err := r.writePhase(at, reverted); err != nil {
			r.o.Log.Warn("left the journal of a replaced hotpatch", "pid", r.info.PID, "addr", at, "err", err)
		}
	}
	return nil
}

// expectAll makes sure that the code to be changed is still what it was when it
// was looked at.
func (r *run) expectAll(c change) error {
	var now []byte
	for _, s := range c.expect {
		now = slices.Grow(now[:0], len(s.data))[:len(s.data)]
		if _, err := r.mem.ReadAt(now, int64(s.addr)); err != nil {
			return err
		}
		if !bytes.Equal(now, s.data) {
			return refuse("the code at %#x changed while it was looked at: its image was unloaded, or something else changes it", s.addr)
		}
	}
	if len(c.expect) > 0 {
		return nil // they hold all the edits
	}
	for _, e := range c.edits {
		if err := r.expect(e.addr, e.from); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) readPhase(journal uint64) (phase, error) {
	var b [4]byte
	if _, err := r.mem.ReadAt(b[:], int64(journal+phaseAt)); err != nil {
		return 0, fmt.Errorf("read the journal: %w", err)
	}
	return phase(binary.LittleEndian.Uint32(b[:])), nil
}

func (r *run) writePhase(journal uint64, p phase) error {
	if err := r.own(); err != nil {
		return err
	}
	b := []byte{byte(p), 0, 0, 0}
	if _, err := r.mem.WriteAt(b, int64(journal+phaseAt)); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}
