package txn

import (
	"bytes"
	"cmp"
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
	// which everything else runs.
	stuckBudget = 200 * time.Millisecond

	fewThreads = 5

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
	if err := r.touch(c.edits); err != nil {
		return err
	}
	trampolines, err := r.trampolines()
	if err != nil {
		return err
	}
	var space *unwind.Space
	for backoff := firstBackoff; ; {
		k := newChecker(r.target, space, c.guards, trampolines)
		err := ptrace.Run(func(t *ptrace.Tracer) error { return r.attempt(t, c, k) })
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
			err = &busy{fmt.Sprintf("%v: it is in uninterruptible sleep, or waits for a vfork child", err)}
		case errors.Is(err, ptrace.ErrGone) && !r.changed():
			err = &busy{"its threads come and go too quickly to be stopped"}
		case !errors.As(err, &b):
			return err
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
// private copies of the pages now and not during the stop.
func (r *run) touch(edits []edit) error {
	for _, e := range edits {
		if err := r.expect(e.addr, e.from); err != nil {
			return err
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
	g, err := t.Seize(r.threads)
	defer g.Release()
	if err != nil {
		return err
	}
	r.o.step("seized")
	stuck, asleep, err := r.idle()
	if err != nil {
		return err
	}
	// Of threads that appear later the mappings do not tell where stacks end.
	if k.maps, err = proc.Maps(r.info.PID); err != nil {
		return err
	}
	children, err := proc.Children(r.info.PID)
	if err != nil {
		return err
	}
	known, err := r.threads()
	if err != nil {
		return err
	}
	for _, tid := range known {
		k.known[tid] = g.Traced(tid)
	}
	budget := stopBudget + time.Duration(len(asleep))*stopBudgetPerThread
	for _, early := range []struct {
		tids []int
		wait time.Duration
	}{{stuck, stuckBudget}, {asleep, budget}} {
		quiet, err := g.StopSome(early.tids, time.Now().Add(early.wait))
		if err != nil {
			return err
		}
		if err := k.check(quiet); err != nil {
			return err
		}
	}
	r.o.step("sleepers-stopped")
	begin := time.Now()
	defer func() { r.paused += time.Since(begin) }()
	defer g.Release() // within the measured time; a second call does nothing
	rest, err := g.StopAll(time.Now().Add(budget))
	if err != nil {
		return err
	}
	r.stopped = len(g.Threads)
	r.o.step("stopped")
	if err := k.check(rest); err != nil {
		return err
	}
	if err := sharesMemory(r.info.PID, children); err != nil {
		return err
	}
	return r.write(c)
}

// idle lists the threads that are best stopped before the others: those in
// uninterruptible sleep, and, when there are many threads, those that sleep.
func (r *run) idle() (stuck, asleep []int, err error) {
	tids, err := r.threads()
	if err != nil {
		return nil, nil, err
	}
	for _, tid := range tids {
		switch s, err := proc.ThreadState(r.info.PID, tid); {
		case err != nil: // it ended; the listing after the stop will tell
		case s == 'D':
			stuck = append(stuck, tid)
		case s == 'S' && len(tids) >= fewThreads:
			asleep = append(asleep, tid)
		}
	}
	return stuck, asleep, nil
}

// write is called with every thread stopped and every stack checked. It leaves
// the process wholly changed or wholly as it was.
func (r *run) write(c change) (err error) {
	if err := r.expectAll(c); err != nil {
		return err
	}
	if err := r.writePhase(c.journal, c.before); err != nil {
		return err
	}
	written := 0
	defer func() {
		if err == nil {
			return
		}
		for _, e := range c.edits[:written] {
			if _, uerr := r.mem.WriteAt(e.from[:], int64(e.addr)); uerr != nil {
				err = fmt.Errorf("%w; setting the entry at %#x back: %w", err, e.addr, uerr)
			}
		}
	}()
	for _, e := range c.edits {
		written++
		if _, err := r.mem.WriteAt(e.to[:], int64(e.addr)); err != nil {
			return err
		}
		r.o.step("entry-written")
		if err := r.o.fail("entry-written"); err != nil {
			return err
		}
	}
	for _, e := range c.edits {
		if err := r.expect(e.addr, e.to); err != nil {
			return err
		}
	}
	r.o.step("entries-verified")
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

func (r *run) writePhase(journal uint64, p phase) error {
	b := []byte{byte(p), 0, 0, 0}
	if _, err := r.mem.WriteAt(b, int64(journal+phaseAt)); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// checker decides whether stopped threads are clear of the guards. Everything
// that can be looked up is looked up before the stop.
type checker struct {
	pid    int
	mem    *ptrace.Mem
	maps   []proc.Map
	space  *unwind.Space // nil: not read yet
	guards []guard
	known  map[int]bool   // threads that were there when maps was read
	held   []unwind.Range // the guards, joined
	ranges []unwind.Range // and signal trampolines
	stack  []byte
	frames []unwind.Frame
}

func newChecker(t *target, space *unwind.Space, guards []guard, trampolines []unwind.Range) *checker {
	k := &checker{
		pid: t.info.PID, mem: t.mem, maps: t.maps, space: space, guards: guards, known: map[int]bool{},
		stack: make([]byte, 64<<10), frames: make([]unwind.Frame, 0, 64),
	}
	for _, g := range guards {
		k.held = append(k.held, unwind.Range{Lo: g.lo, Hi: g.hi})
	}
	k.held = merged(k.held)
	k.ranges = merged(append(slices.Clone(k.held), trampolines...))
	return k
}

// merged sorts ranges and joins those that touch, as Scan wants them.
func merged(rs []unwind.Range) []unwind.Range {
	slices.SortFunc(rs, func(a, b unwind.Range) int { return cmp.Compare(a.Lo, b.Lo) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

func (k *checker) guardAt(pc uint64) (string, bool) {
	i, _ := slices.BinarySearchFunc(k.held, pc, func(r unwind.Range, pc uint64) int {
		if r.Hi <= pc {
			return -1
		}
		return 1
	})
	if i == len(k.held) || pc < k.held[i].Lo {
		return "", false
	}
	for _, g := range k.guards {
		if pc >= g.lo && pc < g.hi {
			return g.name, true
		}
	}
	return "", false
}

// maxScan bounds how much stack is read while the process stands still. A
// stack deeper than that is unwound instead.
const maxScan = 1 << 20

// check fails with *busy unless every thread is clear.
//
// Scanning the words of a stack is quick and misses nothing that is on it, but
// stale slots can keep a thread busy for ever, and it does not see the frames
// below a signal handler on an alternate stack. So a hit, a signal
// trampoline, or a stack that is too large or oddly aligned to scan is
// answered by unwinding; a stack that cannot be unwound is not safe.
func (k *checker) check(threads []ptrace.Thread) error {
	for i := range threads {
		th := &threads[i]
		if name, in := k.guardAt(th.Regs.Rip); in {
			return &busy{fmt.Sprintf("%s is running in thread %d", name, th.TID)}
		}
		clear, stack := k.scan(th)
		if clear || th.Regs.Rip == 0 && kernelWorker(k.pid, th.TID) {
			continue
		}
		if err := k.unwind(th, stack); err != nil {
			return err
		}
	}
	return nil
}

// scan reads the stack of a thread to its end and says whether nothing on it
// leads into the ranges. The bytes are valid until the next call. A stack of
// which this cannot be said is not clear.
func (k *checker) scan(th *ptrace.Thread) (clear bool, stack []byte) {
	sp := th.Regs.Rsp
	end, ok := stackEnd(k.maps, sp)
	if !ok || !k.known[th.TID] || sp%8 != 0 || end-sp > maxScan {
		return false, nil
	}
	n := int(end - sp)
	if n > len(k.stack) {
		k.stack = make([]byte, n)
	}
	b := k.stack[:n]
	if _, err := k.mem.ReadAt(b, int64(sp)); err != nil {
		return false, nil
	}
	hit, _ := unwind.Scan(b, sp, k.ranges)
	return !hit, b
}

// stackEnd is where the memory that sp is in ends. Neighbouring anonymous
// mappings belong to it: mlock, mprotect or madvise of a part splits a stack.
func stackEnd(maps []proc.Map, sp uint64) (uint64, bool) {
	for i, m := range maps {
		if sp < m.Start || sp >= m.End {
			continue
		}
		end := m.End
		for _, next := range maps[i+1:] {
			if next.Start != end || !next.Read || next.Shared || next.Inode != 0 {
				break
			}
			end = next.End
		}
		return end, m.Read
	}
	return 0, false
}

// errNeedsUnwinding: a stack cannot be cleared without unwind data.
var errNeedsUnwinding = errors.New("a stack has to be unwound")

func (k *checker) unwind(th *ptrace.Thread, stack []byte) error {
	if k.space == nil {
		return errNeedsUnwinding
	}
	mem := &unwind.Window{Base: th.Regs.Rsp, Bytes: stack, Else: k.mem}
	regs := dwarfRegs(&th.Regs)
	frames, err := k.space.Frames(k.frames[:0], &regs, mem)
	if err != nil {
		return &busy{fmt.Sprintf("the stack of thread %d may hold replaced code and cannot be unwound: %v", th.TID, err)}
	}
	k.frames = frames
	for _, f := range frames {
		if name, in := k.guardAt(f.Code()); in {
			return &busy{fmt.Sprintf("%s is on the stack of thread %d", name, th.TID)}
		}
	}
	return nil
}

// kernelWorker says that a thread of the process only ever runs kernel code, as
// those of io_uring do.
func kernelWorker(pid, tid int) bool {
	const ioWorker, userWorker = 0x10, 0x4000 // PF_IO_WORKER, PF_USER_WORKER
	s, err := proc.ReadStat(pid, tid)
	return err == nil && s.Flags&(ioWorker|userWorker) != 0
}

// dwarfRegs reorders the registers (psABI figure 3.36).
func dwarfRegs(r *ptrace.Regs) unwind.Regs {
	return unwind.Regs{
		r.Rax, r.Rdx, r.Rcx, r.Rbx, r.Rsi, r.Rdi, r.Rbp, r.Rsp,
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15, r.Rip,
	}
}
