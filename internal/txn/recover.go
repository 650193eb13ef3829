package txn

import (
	"fmt"
	"slices"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// recoverAll finishes what an interrupted tool left in the process: a
// transaction is wholly done or wholly undone before anything else happens.
//
// What is found afterwards is looked at again: while a call that was still to
// come changes the mappings, a list of them can lack one. Where no stub lies, no
// call is to come.
func (r *run) recoverAll() error {
	const looks = 5
	if !slices.ContainsFunc(r.journals, (*journal).pending) {
		stub, err := r.findRoomIn(anyModule, func(_ uint64, room []byte) bool { return ptrace.IsStub(room) })
		if err != nil {
			return err
		}
		if stub == 0 {
			return r.tidy()
		}
	}
	for look := 1; ; look++ {
		if err := r.recoverKnown(); err != nil {
			return err
		}
		if err := r.refresh(); err != nil {
			return err
		}
		if !slices.ContainsFunc(r.journals, (*journal).pending) {
			return r.tidy()
		}
		if look == looks {
			return &busy{reason: "an interrupted transaction goes on by itself"}
		}
	}
}

// pending says whether a transaction is neither done nor undone.
func (j *journal) pending() bool { return j.Phase == prepared || j.Phase == undoing }

// recoverKnown finishes what the last look has shown.
func (r *run) recoverKnown() error {
	if err := r.awaitLoans(); err != nil {
		return err
	}
	for _, j := range r.journals {
		if !j.pending() {
			continue
		}
		if err := r.finishExchange(j); err != nil {
			return err
		}
		st, err := j.stands(r.mem)
		if err != nil {
			return err
		}
		was := j.Phase
		switch st {
		case allNew:
			// Every entry is written: the change was complete but for the note.
			// An undo that has not begun is as good as none.
			err = r.writePhase(j.Addr, applied)
		case allOld: // nothing of it has ever run, or all of it is undone
			err = r.writePhase(j.Addr, reverted)
		case mixed:
			err = r.rollBack(j)
		case foreign:
			err = refuse("an interrupted transaction of hotpatch %s left entries that something else has changed since; restart the process", j.ID.Short())
		}
		if err != nil {
			return err
		}
		r.o.Log.Info("recovered an interrupted transaction", "pid", r.info.PID, "patch", j.ID.Short(), "phase", was, "entries", st)
	}
	return nil
}

// awaitLoans sees to it that no call is still to come for a transaction that was
// interrupted: one that unmaps its code again, or exchanges a page. A thread that
// was lent to a tool which died has done its call long ago, or waits for a
// processor still: only a stop of all threads can tell.
func (r *run) awaitLoans() error {
	i := slices.IndexFunc(r.journals, (*journal).pending)
	if i < 0 {
		return nil
	}
	j := r.journals[i]
	c := change{journal: j.Addr, before: j.Phase, after: j.Phase}
	_, err := r.findRoomIn(anyModule, func(at uint64, room []byte) bool {
		if ptrace.IsStub(room) {
			c.guards = append(c.guards, guard{at, at + ptrace.StubRoom, "a call for an interrupted hotpatch"})
		}
		return false
	})
	if err != nil || len(c.guards) == 0 {
		return err
	}
	return r.swap(c)
}

// finishExchange unmaps the copy of a page that an interrupted transaction was
// to exchange, or puts it where the page is missing.
func (r *run) finishExchange(j *journal) error {
	if j.Phase != prepared || !mayExchange(j.Mode) || len(j.Sites) == 0 {
		return nil
	}
	page := j.Sites[0].Addr &^ (pageSize - 1)
	x := &exchange{page: page, spare: j.Regions[0].spare()}
	var ok bool
	if x.at, ok = proc.Find(r.maps, page); !ok {
		return r.fillHole(x)
	}
	return r.dropCopy(x, x.spare)
}

// fillHole puts a copy in the place of a page that the kernel took away when it
// had no memory to put the copy there. It can be of that page alone.
func (r *run) fillHole(x *exchange) error {
	m, ok := proc.Find(r.maps, x.spare)
	before, bok := proc.Find(r.maps, x.page-1)
	after, aok := proc.Find(r.maps, x.page+pageSize)
	near := func(n proc.Map) bool {
		hole := exchange{page: x.page, at: n}
		return n.Exec && hole.isCopy(m, x.spare)
	}
	if !ok || !(bok && near(before) || aok && near(after)) {
		return nil
	}
	r.avoid = x.page
	got, err := r.takePage(x, func() error { return r.missing(x) })
	if eerr := r.endLoan(); err == nil {
		err = eerr
	}
	if err == nil && (len(got) != 1 || got[0] != x.page) {
		err = callError(got)
	}
	if err != nil {
		return fmt.Errorf("give the page at %#x back: %w", x.page, err)
	}
	return r.refresh()
}

// rollBack undoes a transaction of which some entries are written: back to
// what it found. Both old and new code may have run since, so neither may be on
// a stack.
func (r *run) rollBack(j *journal) error {
	c := change{journal: j.Addr, before: j.Phase, after: reverted, guards: j.guards(), images: j.Regions}
	for _, s := range slices.Backward(j.Sites) { // entries before the padding they lead through
		var now [5]byte
		if _, err := r.mem.ReadAt(now[:], int64(s.Addr)); err != nil {
			return err
		}
		if want := s.before(j.Phase); now != want {
			c.edits = append(c.edits, edit{s.Addr, s.New, want})
		}
		c.guards = append(c.guards, s.guards()...)
	}
	return r.swap(c)
}
