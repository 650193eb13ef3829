package txn

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// An independent hotpatch whose entry changes within one instruction is put in
// force without stopping the process: the page that holds the entry is
// exchanged for a copy with the jump in it. A borrowed thread makes two system
// calls, and everything between them may take its time.
//
//  1. mremap(page → copy, MREMAP_DONTUNMAP): the copy is a mapping of the same
//     part of the same file. The page itself stays mapped and comes from the
//     file again.
//  2. We write the jump into the copy and compare it with the page.
//  3. mremap(copy → page): whoever runs there waits in a page fault, and goes on
//     in old or in new code.
//
// A tool that dies leaves, before 3, a second mapping of a page that nobody
// runs in; after it, a hotpatch in force. Where the copy is follows from the
// journal (region.spare), so the next one finds it.

// spareGap keeps the copy of a page away from our region and from what the
// process had behind it when the region was placed (see margin).
const spareGap = margin / 2

// spare is where the copy of a page lies while it is made: behind the region.
func (r region) spare() uint64 { return r.Addr + r.RX + r.RW + spareGap }

// exchange is one page that is to be exchanged.
type exchange struct {
	page  uint64
	spare uint64
	at    proc.Map // the mapping with the page
	file  []byte   // what the page holds, in its file and in memory
}

// unfit is why a process cannot be changed without stopping it.
type unfit struct{ reason string }

func (u *unfit) Error() string { return u.reason }

func unfitting(format string, args ...any) error { return &unfit{fmt.Sprintf(format, args...)} }

// isCopy says whether m is the copy of the page and nothing else.
func (x *exchange) isCopy(m proc.Map, at uint64) bool {
	return m.Start == at && m.End == at+pageSize && m.Read && !m.Write && m.Exec && !m.Shared &&
		m.Dev == x.at.Dev && m.Inode == x.at.Inode && m.Off == x.at.Off+x.page-x.at.Start
}

// exchange puts the change in force. unfit: nothing is changed, and it has to be
// done the other way.
func (r *run) exchange(x *exchange, c change) (err error) {
	r.attempts++
	defer func() {
		_ = r.endLoan() // what came of it, the page tells
		if err != nil && !r.unsure {
			err = errors.Join(err, r.dropCopy(x, x.spare))
		}
	}()
	if err := r.copyPage(x); err != nil {
		return err
	}
	want, err := r.fillCopy(x, c.edits)
	if err != nil {
		return err
	}
	if err := r.o.step("copy-verified"); err != nil {
		return err
	}
	got, err := r.takePage(x, func() error { return r.same(x, want) })
	if eerr := r.endLoan(); err == nil {
		err = eerr
	}
	now := make([]byte, pageSize)
	_, rerr := r.mem.ReadAt(now, int64(x.page))
	switch {
	case rerr == nil && bytes.Equal(now, want):
		if err != nil { // about giving the thread back
			r.o.Log.Warn("exchanged a page, but", "pid", r.info.PID, "err", err)
		}
		r.stopped, r.how = 1, Exchanged
		return r.writePhase(c.journal, c.after)
	case rerr != nil && !r.unsure:
		// The kernel took the page away and then had no memory for the rest.
		if got, err = r.takePage(x, func() error { return r.missing(x) }); err == nil && len(got) == 1 && got[0] == x.page {
			r.stopped, r.how = 1, Exchanged
			return r.writePhase(c.journal, c.after)
		}
		r.unsure = true // the copy is needed
		return fmt.Errorf("exchange the page at %#x: %w, and now it cannot be read: %w", x.page, cmp.Or(err, callError(got)), rerr)
	case err != nil:
		return err
	}
	maps, err := proc.Maps(r.info.PID)
	if err != nil {
		return err
	}
	if m, _ := proc.Find(maps, x.page); !sameFile(m, x.at, x.page) {
		r.unsure = true // the copy is all that is left of it
		return fmt.Errorf("exchange the page at %#x: %w, and now something else is mapped there", x.page, callError(got))
	}
	return unfitting("the page at %#x could not be exchanged: %v", x.page, callError(got))
}

// missing fails when anything is mapped where the page was.
func (r *run) missing(x *exchange) error {
	maps, err := proc.Maps(r.info.PID)
	if err != nil {
		return err
	}
	if _, ok := proc.Find(maps, x.page); ok {
		return fmt.Errorf("something else is mapped at %#x now", x.page)
	}
	return nil
}

// takePage puts the copy in the place of the page, if right before ready says so.
func (r *run) takePage(x *exchange, ready func() error) ([]uint64, error) {
	return r.lend(ptrace.Call{NR: unix.SYS_MREMAP, Args: [6]uint64{
		x.spare, pageSize, pageSize, unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, x.page,
	}}, ready)
}

// copyPage makes the second mapping of the page.
func (r *run) copyPage(x *exchange) error {
	got, err := r.lend(ptrace.Call{NR: unix.SYS_MREMAP, Args: [6]uint64{
		x.page, pageSize, pageSize, unix.MREMAP_MAYMOVE | unix.MREMAP_DONTUNMAP, x.spare,
	}}, func() error { return r.holds(x.page, x.file) })
	switch {
	case err != nil:
		return err
	case len(got) == 1 && got[0] == x.spare:
		return r.o.step("page-copied")
	case len(got) == 1 && got[0] < top && got[0]%pageSize == 0:
		// Without MREMAP_FIXED the address is a wish: the process has something
		// there now.
		if err := r.dropCopy(x, got[0]); err != nil {
			return err
		}
	}
	return unfitting("the page at %#x cannot be mapped twice: %v", x.page, callError(got))
}

// callError is what a call that did not do its work returned.
func callError(got []uint64) error {
	if len(got) != 1 {
		return errors.New("the call was not made")
	}
	if e := -int64(got[0]); e > 0 && e < pageSize {
		return unix.Errno(e)
	}
	return fmt.Errorf("the call returned %#x", got[0])
}

// fillCopy writes the edits into the copy and makes sure that it is the page but
// for them. It returns what the copy holds.
func (r *run) fillCopy(x *exchange, edits []edit) (want []byte, err error) {
	switch m, _, err := proc.MapAt(r.info.PID, x.spare); {
	case err != nil:
		return nil, err
	case !x.isCopy(m, x.spare):
		return nil, refuse("the page at %#x is not what was mapped there: its image was unloaded", x.page)
	}
	switch m, _, err := proc.MapAt(r.info.PID, x.page); {
	case err != nil:
		return nil, err
	case !sameFile(m, x.at, x.page):
		return nil, refuse("the mapping of the page at %#x changed while it was looked at", x.page)
	}
	if err := r.holds(x.spare, x.file); err != nil {
		return nil, r.putBack(x, err)
	}
	want = slices.Clone(x.file)
	for _, e := range edits {
		at := e.addr - x.page
		if !bytes.Equal(want[at:at+uint64(len(e.from))], e.from[:]) {
			return nil, refuse("the entry at %#x is not in its file what it was in memory", e.addr)
		}
		copy(want[at:], e.to[:])
		if _, err := r.mem.WriteAt(e.to[:], int64(x.spare+at)); err != nil {
			return nil, fmt.Errorf("make code writable (does the kernel set proc_mem.force_override?): %w", err)
		}
	}
	if err := r.o.step("copy-written"); err != nil {
		return nil, err
	}
	return want, r.same(x, want)
}

// same says whether the copy holds what is wanted, and the page still what its
// file does.
func (r *run) same(x *exchange, want []byte) error {
	if err := r.holds(x.spare, want); err != nil {
		return err
	}
	return r.holds(x.page, x.file)
}

// holds says whether a page holds what is wanted. unfit: it does not.
func (r *run) holds(page uint64, want []byte) error {
	var now [pageSize]byte
	if _, err := r.mem.ReadAt(now[:], int64(page)); err != nil {
		return err
	}
	if !bytes.Equal(now[:], want) {
		return unfitting("the code at %#x changed while it was copied: something else changes it", page)
	}
	return nil
}

// putBack gives the process back a page into which something wrote right before
// it was copied: what was written is in the copy alone.
func (r *run) putBack(x *exchange, why error) error {
	got, err := r.takePage(x, func() error { return r.holds(x.page, x.file) })
	if err == nil && len(got) == 1 && got[0] == x.page {
		return why
	}
	r.unsure = true // nothing may be lost: the copy stays
	return fmt.Errorf("%w; putting it back: %w", why, cmp.Or(err, callError(got)))
}

// sameFile says whether m shows page as mapping w did.
func sameFile(m, w proc.Map, page uint64) bool {
	return m.Exec && !m.Write && !m.Shared && m.Dev == w.Dev && m.Inode == w.Inode && m.Off+page-m.Start == w.Off+page-w.Start
}

// dropCopy unmaps a copy of the page, if there is one at the address.
func (r *run) dropCopy(x *exchange, at uint64) error {
	maps, err := proc.Maps(r.info.PID)
	if err != nil {
		return err
	}
	if m, ok := proc.Find(maps, at); !ok || !x.isCopy(m, at) {
		return nil
	}
	r.unmap(region{Addr: at, RX: pageSize})
	return nil
}

// lend has a thread make one call, which is made once or not at all: another
// thread is tried only when the first could not be had. A thread that stays in
// the call leaves the run unsure. ready, if not nil, is asked when the thread
// stands ready to make the call.
//
// A thread that slept when it was borrowed stands by for the next call (until
// endLoan): to borrow it again takes longer than what we do meanwhile, and it
// does not notice. One that ran goes on in between.
func (r *run) lend(call ptrace.Call, ready func() error) (got []uint64, err error) {
	if err := r.own(); err != nil {
		return nil, err
	}
	if r.loan != nil {
		got, final, err := r.make(call, ready)
		if no := (*unfit)(nil); final || !errors.As(err, &no) {
			return got, err
		}
	}
	until := time.Now().Add(time.Until(r.deadline) / 2) // the rest is for a stop
	for choice := 1; ; choice = enough {
		room, err := r.roomOff(r.avoid)
		if err == nil && room.at == 0 {
			err = unfitting("no loaded image has unused bytes behind its code, but the one that changes")
		}
		if err != nil {
			return nil, err
		}
		if group, err := proc.Frozen(r.info.PID); err != nil {
			return nil, err
		} else if group != "" {
			return nil, frozen(group)
		}
		threads, err := r.sleepersFirst(choice)
		if b := (*busy)(nil); errors.As(err, &b) {
			err = unfitting("%v", err)
		}
		if err != nil {
			return nil, err
		}
		filtered := 0
		for _, th := range threads {
			if th.filtered {
				filtered++
				continue
			}
			if err = r.beginLoan(th.tid, room); err == nil {
				var final bool
				if got, final, err = r.make(call, ready); final {
					return got, err
				}
			}
			if no := (*unfit)(nil); !errors.As(err, &no) {
				return nil, err
			}
			if time.Now().After(until) || r.ctx.Err() != nil {
				break // one that gets no processor takes seconds, and they may be many
			}
		}
		if r.changed() {
			return nil, proc.ErrGone
		}
		if filtered == len(threads) {
			return nil, unfitting("all its threads have seccomp filters")
		}
		if time.Now().After(until) {
			return nil, err
		}
		if perr := r.pause(time.Millisecond); perr != nil {
			return nil, err
		}
	}
}

// beginLoan borrows a thread.
func (r *run) beginLoan(tid int, room room) error {
	err := r.loans.Run(func(tr *ptrace.Tracer) (err error) {
		r.loan, err = tr.Lend(r.mem, ptrace.Injection{
			TID: tid, Room: room.at, Step: r.o.step,
			NoFilter: true, // if we died meanwhile, one that kills would see the call
		})
		return err
	})
	return r.notLent(err)
}

// notLent makes an error of a thread that could not be had, or not any more, one
// for which another may be tried.
func (r *run) notLent(err error) error {
	r.roomGone = r.roomGone || errors.Is(err, ptrace.ErrRoom)
	if errors.Is(err, ptrace.ErrBorrow) || errors.Is(err, ptrace.ErrGone) || errors.Is(err, ptrace.ErrSeccomp) || errors.Is(err, ptrace.ErrRoom) {
		return unfitting("no thread can be borrowed: %v", err)
	}
	return err
}

// make has the borrowed thread make one call. final: that was it, or it cannot
// be done. Else the thread could not be had any more, and another may do.
func (r *run) make(call ptrace.Call, ready func() error) (got []uint64, final bool, err error) {
	began := false
	step := func(point string) error {
		began = began || point == "registers-set"
		if err := r.o.step(point); err != nil || ready == nil || point != "stub-written" {
			return err
		}
		err := ready()
		final = final || err != nil
		return err
	}
	err = r.loans.Run(func(*ptrace.Tracer) (err error) {
		got, err = r.loan.Make([]ptrace.Call{call}, r.inRoom(r.room, step))
		return err
	})
	if err != nil || r.loan.Ran() || r.o.apart {
		if eerr := r.endLoan(); err == nil {
			err = eerr
		}
	}
	switch {
	case err == nil:
	case began && errors.Is(err, ptrace.ErrTimeout):
		r.unsure = true
		err = fmt.Errorf("a thread was lent to exchange a page and does not come back: %w", err)
	case !began && !final:
		err = r.notLent(err)
	}
	return got, final || began || err == nil, err
}

// endLoan gives a thread back that stands by, if there is one.
func (r *run) endLoan() error {
	l := r.loan
	if l == nil {
		return nil
	}
	r.loan = nil
	err := r.loans.Run(func(*ptrace.Tracer) error { return l.End() })
	r.paused += l.Held()
	return err
}

const (
	// settling bounds how long an independent hotpatch waits for calls that were
	// under way when a page was exchanged, and settlingAwake how much processor
	// time a thread may use meanwhile before it counts as one that never sleeps
	// and so cannot be looked at.
	settling      = patience
	settlingAwake = 1 * time.Millisecond
)

// settle watches the threads, without stopping any, until none can be in the
// old code any more, or it has taken too long; then it says where that may be.
// A thread whose stack was once clear stays so: its next call runs new code. A
// child that shares the memory (vfork, CLONE_VM) runs the same code and is not
// looked into: it is waited for.
func (r *run) settle(guards []guard) (lingers string) {
	tids, err := r.threads()
	begin, used := time.Now(), map[int]time.Duration{}
	trampolines, terr := r.trampolines()
	if err != nil || terr != nil {
		return guards[0].name + ", if it is on a stack, which could not be seen"
	}
	k := newChecker(r.target, nil, guards, trampolines)
	limit := time.Now().Add(min(time.Until(r.deadline)/4, settling))
	var calm time.Time // since when nobody waits for a processor, as far as was seen
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 32*time.Millisecond) {
		left := tids[:0]
		lingers = ""
		if !nobodyWaits() {
			calm = time.Time{}
		} else if calm.IsZero() {
			calm = time.Now()
		}
		alone := !calm.IsZero() && time.Since(calm) >= settlingAwake
		hopeful, watched := false, false // waiting may help; there are threads that may be running
		for _, tid := range tids {
			where, sleeps := r.mayBeIn(k, tid)
			if where == "" {
				continue
			}
			left = append(left, tid)
			ran := r.timesRun(tid).Ran
			if _, seen := used[tid]; !seen {
				used[tid] = ran
			}
			// The kernel tells what a thread has used at the next clock tick. Where
			// nobody waits for a processor, a clock tells sooner.
			awake := alone || ran-used[tid] >= settlingAwake
			hopeful, watched = hopeful || sleeps || !awake, watched || !sleeps
			if sleeps || lingers == "" {
				lingers = where
			}
		}
		if lingers == "" {
			lingers = r.relativeMayBeIn(guards[0].name)
			hopeful = lingers != ""
		}
		if tids = left; lingers == "" {
			return ""
		}
		if watched && time.Since(begin) < 4*settlingAwake {
			wait = min(wait, settlingAwake/4) // those that do not sleep are given up soon
		}
		if !hopeful || time.Now().Add(wait).After(limit) || r.pause(wait) != nil {
			return lingers
		}
	}
}

// nobodyWaits says whether all threads of the host that could run do so now, but
// for our own, of which one at a time is enough.
func nobodyWaits() bool {
	n, err := proc.Runnable()
	if err != nil {
		return false
	}
	for _, tid := range ownThreads(n - runtime.NumCPU()) {
		if state, err := proc.ThreadState(os.Getpid(), tid); err == nil && state == 'R' && tid != unix.Gettid() {
			n--
		}
	}
	return n <= runtime.NumCPU()
}

// ownThreads lists our threads where any are too many.
func ownThreads(tooMany int) []int {
	if tooMany <= 0 {
		return nil
	}
	tids, _ := proc.Threads(os.Getpid())
	return tids
}

// relativeMayBeIn says which child that shares the memory may be in replaced
// code, "" if there is none.
func (r *run) relativeMayBeIn(name string) string {
	children, err := r.sharing(proc.Children(r.info.PID))
	switch {
	case err != nil:
		return name + ", if a child that shares the memory is in it, which could not be seen"
	case len(children) > 0:
		return fmt.Sprintf("%s, if process %d is in it, which shares its memory", name, children[0])
	}
	return ""
}

// mayBeIn says whether a thread may be in guarded code, "" if not, as far as
// can be told without stopping it; sleeps: it was looked at.
func (t *target) mayBeIn(k *checker, tid int) (where string, sleeps bool) {
	name := k.guards[0].name
	before := t.timesRun(tid)
	s, err := proc.ReadSyscall(t.info.PID, tid)
	switch {
	case errors.Is(err, proc.ErrGone):
		return "", false
	case err != nil || s.Running:
		state, serr := proc.ThreadState(t.info.PID, tid)
		if errors.Is(serr, proc.ErrGone) || state == 'Z' || state == 'X' || surelyWorker(t.info.PID, tid) {
			return "", false
		}
		return fmt.Sprintf("%s, if thread %d is in it, which has not slept since", name, tid), false
	}
	if _, in := k.guardAt(s.PC); in {
		return fmt.Sprintf("%s is running in thread %d", name, tid), true
	}
	if s.SP == 0 && surelyWorker(t.info.PID, tid) {
		return "", false
	}
	k.known[tid] = true
	if _, ok := proc.Find(k.maps, s.SP); !ok { // a young thread
		if maps, err := proc.Maps(t.info.PID); err == nil {
			k.maps = maps
		}
	}
	th := ptrace.Thread{TID: tid}
	th.Regs.Rip, th.Regs.Rsp = s.PC, s.SP
	if clear, _ := k.scan(&th); clear {
		// It may have gone on while its stack was read: what was seen is worth nothing
		// then. It was asleep after it was counted first, so it cannot have run since
		// without being counted again.
		if before != (proc.SchedStat{}) && t.timesRun(tid) == before {
			return "", true
		}
		return fmt.Sprintf("%s, if thread %d is in it, which was not seen asleep all the while", name, tid), true
	}
	return fmt.Sprintf("%s may be on the stack of thread %d", name, tid), true
}

// timesRun changes whenever a thread runs; it is zero if the kernel does not tell.
func (t *target) timesRun(tid int) proc.SchedStat {
	s, err := proc.ReadSchedStat(t.info.PID, tid)
	if err != nil {
		return proc.SchedStat{}
	}
	return s
}

// pads are the jumps that lead through padding: they belong to a site before.
func (s site) pads() bool { return s.Name == "" }

// named counts the functions among sites.
func named(sites []site) (n int) {
	for _, s := range sites {
		if !s.pads() {
			n++
		}
	}
	return n
}

// mayExchange says whether a page may be exchanged for a transaction of this
// mode, whose journal then has room for the jumps in padding.
func mayExchange(mode patch.Mode) bool { return mode == patch.Independent }
