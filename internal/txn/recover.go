package txn

// recoverAll finishes what an interrupted tool left in the process: a
// transaction is wholly done or wholly undone before anything else happens.
func (r *run) recoverAll() error {
	for _, j := range r.journals {
		if j.Phase != prepared && j.Phase != undoing {
			continue
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
	if err := r.refresh(); err != nil {
		return err
	}
	return r.tidy()
}

// rollBack undoes a transaction of which some entries are written: back to
// what it found. Both old and new code may have run since, so neither may be on
// a stack.
func (r *run) rollBack(j *journal) error {
	c := change{journal: j.Addr, before: j.Phase, after: reverted, guards: j.guards(), images: j.Regions}
	for _, s := range j.Sites {
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
