package txn

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// load maps the regions in the process and fills them. No entry leads there
// yet. On an error the regions are unmapped again where possible.
func (r *run) load(p *plan) (err error) {
	if err := r.own(); err != nil {
		return err
	}
	if !p.reuse {
		rooms := p.rooms()
		for i, g := range rooms {
			if err := r.mapRegion(g); err != nil {
				for _, done := range rooms[:i] {
					r.unmap(done)
				}
				return err
			}
		}
	}
	defer func() {
		if err != nil {
			r.discard(p)
		}
	}()
	// The journal first: from here on a mapping that a killed tool left is
	// known, and used again. Body before header: what has the magic is complete.
	if err := r.writeJournal(p); err != nil {
		return err
	}
	if p.reuse {
		if err := r.clearData(p); err != nil {
			return err
		}
	}
	for _, pt := range p.parts {
		for _, w := range pt.writes {
			if p.reuse && w.Addr < pt.region.Addr+pt.region.RX {
				continue // it holds that already (sameCode)
			}
			if _, err := r.mem.WriteAt(w.Data, int64(w.Addr)); err != nil {
				return fmt.Errorf("fill the new mapping: %w", err)
			}
		}
		if err := r.o.step("region-filled"); err != nil {
			return err
		}
	}
	for _, h := range p.hooks {
		if _, err := r.mem.WriteAt(h.finder.Data, int64(h.Room.Addr+h.Room.Header)); err != nil {
			return fmt.Errorf("fill the new mapping: %w", err)
		}
	}
	return nil
}

func (r *run) writeJournal(p *plan) error {
	body, err := p.journal.encodeBody()
	if err != nil {
		return err
	}
	if p.reuse {
		// What is there must not be taken for a journal while it is half old. Should
		// we be killed now, the mapping is nobody's, and stays unused.
		if _, err := r.mem.WriteAt(make([]byte, len(journalMagic)), int64(p.journal.Addr)); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		if err := r.o.step("journal-cleared"); err != nil {
			return err
		}
	}
	for i, pt := range p.parts {
		head := p.journal.header(pt.region, nil)
		if i == 0 {
			head = p.journal.header(pt.region, body)
			if uint64(len(head)) > pt.region.Header {
				return fmt.Errorf("journal of %d bytes does not fit its %d", len(head), pt.region.Header)
			}
			if _, err := r.mem.WriteAt(head[headerSize:], int64(pt.region.Addr+headerSize)); err != nil {
				return fmt.Errorf("write the journal: %w", err)
			}
		}
		if _, err := r.mem.WriteAt(head[:headerSize], int64(pt.region.Addr)); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	for _, h := range p.hooks {
		if _, err := r.mem.WriteAt(p.journal.header(h.Room, nil), int64(h.Room.Addr)); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	return r.o.step("journal-written")
}

// clearData zeroes the read-write parts, so that new variables start afresh.
func (r *run) clearData(p *plan) error {
	zero := make([]byte, pageSize)
	for _, pt := range p.parts {
		for at := pt.region.Addr + pt.region.RX; at < pt.region.Addr+pt.region.RX+pt.region.RW; at += pageSize {
			if _, err := r.mem.WriteAt(zero, int64(at)); err != nil {
				return fmt.Errorf("clear the new variables: %w", err)
			}
		}
	}
	return nil
}

const (
	mapFlags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | unix.MAP_FIXED_NOREPLACE
	noFD     = ^uint64(0)
)

// mapRegion reserves a region: read-execute, and behind it read-write. Nothing
// is ever writable and executable. The advice means nothing for such memory,
// but the kernel merges no mapping that differs in it: a neighbour that the
// process maps later must not hide where ours begins. A kernel without it
// (CONFIG_ADVISE_SYSCALLS) does no harm, so it comes last.
func (r *run) mapRegion(g region) error {
	mmap := func(addr, size uint64, prot uint64) ptrace.Call {
		return ptrace.Call{NR: unix.SYS_MMAP, Args: [6]uint64{addr, size, prot, mapFlags, noFD, 0}}
	}
	calls := []ptrace.Call{mmap(g.Addr, g.RX, unix.PROT_READ|unix.PROT_EXEC)}
	if g.RW > 0 {
		calls = append(calls, mmap(g.Addr+g.RX, g.RW, unix.PROT_READ|unix.PROT_WRITE))
	}
	mappings := len(calls)
	calls = append(calls, ptrace.Call{NR: unix.SYS_MADVISE, Args: [6]uint64{g.Addr, g.RX, unix.MADV_RANDOM}})
	got, err := r.inject(calls)
	if err != nil {
		for i, at := range got { // what was mapped before it went wrong
			if i < mappings && at == calls[i].Args[0] {
				r.unmap(region{Addr: at, RX: calls[i].Args[1]})
			}
		}
		return err
	}
	for i, c := range calls[:mappings] {
		if i < len(got) && got[i] == c.Args[0] {
			continue
		}
		if i > 0 {
			r.unmap(region{Addr: g.Addr, RX: g.RX}) // what is behind it is not ours
		}
		if i >= len(got) {
			return fmt.Errorf("map %d KiB: the call was not made", g.RX>>10)
		}
		return mapError(g, int64(got[i]))
	}
	if err := r.o.step("mapped"); err != nil {
		r.unmap(g)
		return err
	}
	return nil
}

// errRoomTaken: the process has mapped something there itself meanwhile.
var errRoomTaken = errors.New("the room for the new code was taken meanwhile")

func mapError(g region, ret int64) error {
	kb := (g.RX + g.RW) >> 10
	switch e := unix.Errno(-ret); {
	case ret >= 0 && ret < pageSize:
		return fmt.Errorf("map %d KiB: the process's own filter or tracer swallowed the call (result %d)", kb, ret)
	case e == unix.EEXIST:
		return errRoomTaken
	case ret >= 0:
		return fmt.Errorf("map %d KiB: the kernel chose %#x; it does not know MAP_FIXED_NOREPLACE (Linux 4.17)", kb, ret)
	case e == unix.ENOMEM:
		return refuse("the process may not map %d KiB more: its address-space limit (RLIMIT_AS) or vm.max_map_count is reached", kb)
	case e == unix.EACCES, e == unix.EPERM:
		return refuse("the process may not map executable memory (%v): SELinux (execmem) or a seccomp filter forbids it", e)
	case e == unix.EAGAIN:
		return refuse("the process locks its memory and may not lock %d KiB more (RLIMIT_MEMLOCK)", kb)
	default:
		return fmt.Errorf("map %d KiB at %#x: %w", kb, g.Addr, e)
	}
}

// unmap gives a region back that no thread has ever executed. It is best
// effort: what stays is unused address space.
func (r *run) unmap(g region) {
	if _, err := r.inject([]ptrace.Call{{NR: unix.SYS_MUNMAP, Args: [6]uint64{g.Addr, g.RX + g.RW}}}); err != nil {
		r.o.Log.Warn("left an unused mapping", "pid", r.info.PID, "addr", g.Addr, "err", err)
	}
}

// discard takes back regions that were loaded but never entered. Where any
// entry leads there, or nobody can tell, everything stays as it is: the journal
// then says that the transaction was interrupted.
func (r *run) discard(p *plan) {
	if r.unsure {
		return // the next one sees what came of it
	}
	st, err := p.journal.stands(r.mem)
	if err == nil && st == allOld && r.hooked(&p.journal) {
		err = errors.New("an unwinder leads there")
	}
	if err == nil && st == allOld && !p.reuse {
		for _, g := range p.rooms() {
			r.unmap(g)
		}
		return
	}
	if err == nil && st == allOld {
		// Old code may have run there before: keep it, for the next time.
		err = r.writePhase(p.journal.Addr, reverted)
	}
	if err != nil || st != allOld {
		r.o.Log.Warn("left a prepared journal", "pid", r.info.PID, "entries", st, "err", err)
	}
}

// inject borrows a thread to make the calls. On an error the results are those
// of the calls that were made.
func (r *run) inject(calls []ptrace.Call) (got []uint64, err error) {
	if err := r.own(); err != nil {
		return nil, err
	}
	err = r.borrow(func(tr *ptrace.Tracer, in ptrace.Injection) error {
		var err error
		in.Calls = calls
		got, err = tr.Inject(r.mem, in)
		return err
	})
	return got, err
}

// own sees to it that the process's memory can be written, where the kernel did
// not open its file to us.
func (r *run) own() error {
	if r.mem.Writable() {
		return nil
	}
	err := r.borrow(func(tr *ptrace.Tracer, in ptrace.Injection) error {
		looks := in.Step
		in.Step = func(point string) error {
			// The thread stands still, and starts no program now; what was read before
			// may be of another one.
			if point == "borrowed" && r.replaced() {
				return ptrace.ErrReplaced
			}
			return looks(point)
		}
		return tr.Adopt(r.mem, r.info.PID, in)
	})
	if errors.Is(err, ptrace.ErrNotLent) {
		return refuse("%v (is it not dumpable, or without /proc?); give hotpatch CAP_DAC_OVERRIDE beside CAP_SYS_PTRACE, and it need not", err)
	}
	return err
}

// borrow has do use a thread, a sleeping one if there is any. What of the
// injection is about what to do with it is for do to fill in.
func (r *run) borrow(do func(*ptrace.Tracer, ptrace.Injection) error) error {
	r.endLoan()
	until := time.Now().Add(max(time.Until(r.deadline), 200*time.Millisecond))
	for choice := 1; ; choice = enough {
		room, err := r.roomOff(r.avoid)
		if err == nil && room.at == 0 {
			if room, err = r.roomOff(anyPage); err == nil && room.at == 0 {
				err = noRoom()
			}
		}
		if err != nil {
			return err
		}
		group, err := proc.Frozen(r.info.PID)
		if err != nil {
			return err
		}
		if group != "" {
			if time.Now().Before(until) && r.pause(10*time.Millisecond) == nil {
				continue
			}
			return frozen(group)
		}
		threads, err := r.sleepersFirst(choice)
		if err != nil {
			return err
		}
		for _, th := range threads {
			err = r.loans.Run(func(tr *ptrace.Tracer) error {
				return do(tr, ptrace.Injection{TID: th.tid, Room: room.at, Step: r.inRoom(room, r.o.step)})
			})
			if err == nil {
				return nil
			}
			if !errors.Is(err, ptrace.ErrBorrow) && !errors.Is(err, ptrace.ErrGone) {
				break
			}
			if time.Now().After(until) || r.ctx.Err() != nil {
				break // one that gets no processor takes seconds, and they may be many
			}
		}
		switch {
		case errors.Is(err, ptrace.ErrStarting) && time.Now().After(until):
			return &busy{reason: fmt.Sprintf("%v, which takes long", ptrace.ErrStarting)}
		case errors.Is(err, ptrace.ErrSeccomp):
			return refuse("it runs under a seccomp filter, which would have to be passed for a moment: %v", err)
		case errors.Is(err, ptrace.ErrRoom) && time.Now().Before(until):
			r.roomGone = true
		case err != nil && !errors.Is(err, ptrace.ErrBorrow) && !errors.Is(err, ptrace.ErrGone):
			return err
		case r.changed():
			return proc.ErrGone
		case r.replaced():
			return ptrace.ErrReplaced
		case time.Now().After(until):
			return &busy{reason: fmt.Sprintf("no thread could be borrowed (uninterruptible sleep, frozen, vfork, a flood of signals, no processor time?): %v", err)}
		}
		if err := r.pause(time.Millisecond); err != nil {
			return err
		}
	}
}

// frozen: a thread that is borrowed now would not come back before it thaws.
func frozen(group string) error {
	return &busy{reason: fmt.Sprintf("its cgroup %s is frozen, as by docker pause", group)}
}

// enough is how many threads are a choice where the first could not be had.
const enough = 4

// candidate is a thread that may be borrowed.
type candidate struct {
	tid      int
	rank     int  // less is better
	filtered bool // it has a seccomp filter, or cannot be asked
}

// sleepersFirst lists threads that can be borrowed, of many only some: to ask
// how a thread fares takes longer than to borrow it. It looks until there is a
// choice of so many that sleep and have no seccomp filter; those that have one
// come last: one that kills would end the process if we died during the loan.
// One in the middle of a transfer is borrowed only where all others cannot stop.
func (r *run) sleepersFirst(choice int) ([]candidate, error) {
	tids, err := r.threads()
	if err != nil {
		return nil, err
	}
	const last = 3
	waits, why := 0, none // a thread that must not be interrupted
	order := map[byte]int{'S': 0, 'T': 1, 't': 1, 'R': 2, 'D': 4}
	free, usable := 0, []candidate(nil)
	for _, tid := range tids {
		s, err := proc.ReadStat(r.info.PID, tid)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.DumpsCore() {
			return nil, errDumping
		}
		rank, ok := order[s.State]
		if !ok || ofKernel(s) {
			continue
		}
		is, err := proc.ReadRights(r.info.PID, tid)
		filtered := err != nil || is.Seccomp != 0
		if s.State == 'S' {
			d, err := r.delicacy(tid)
			if err != nil {
				return nil, err
			}
			switch d {
			case handedOver, served:
				waits, why = tid, d
				continue
			case transferring:
				rank = last
			}
		}
		usable = append(usable, candidate{tid, rank, filtered})
		if rank == 0 && !filtered {
			free++
		}
		if free == choice {
			break
		}
	}
	switch {
	case len(usable) == 0 && waits != 0:
		return nil, errAwaits(waits, why)
	case len(usable) == 0:
		return nil, proc.ErrGone
	}
	slices.SortStableFunc(usable, func(a, b candidate) int {
		if a.filtered != b.filtered {
			if a.filtered {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.rank, b.rank)
	})
	return usable, nil
}

// pause sleeps unless the caller gave up.
func (r *run) pause(d time.Duration) error { return r.o.Turns.rest(r.ctx, d) }
