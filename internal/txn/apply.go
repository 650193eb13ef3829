package txn

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"hotpatch/internal/patch"
)

// apply is the whole way of one bundle into one process.
func (r *run) apply(b *patch.Bundle) error {
	id, err := r.tables.applicable(b)
	if err != nil {
		return err
	}
	if err := r.recoverAll(); err != nil {
		return err
	}
	if err := r.noCoroutines(); err != nil {
		return err
	}
	mode, err := consistency(b.Manifest.Mode, r.o.Consistency)
	if err != nil {
		return err
	}
	r.loans.Begin() // while the process is looked at
	p, err := r.prepare(b, id, mode)
	if err != nil {
		return err
	}
	if err := r.putInForce(p); err != nil {
		r.discard(p)
		return err
	}
	if err := r.o.step("applied"); err != nil {
		return err
	}
	if err := r.confirm(&p.journal, applied); err != nil {
		return err
	}
	if r.how == Exchanged {
		var old []guard
		for _, s := range p.journal.Sites {
			if !s.pads() {
				old = append(old, s.guards()...)
			}
		}
		r.lingers = r.settle(old)
	}
	return nil
}

// putInForce makes the change without stopping the process where it can.
func (r *run) putInForce(p *plan) error {
	if p.exchange != nil { // then no unwinder is told
		err := r.exchange(p.exchange, p.redirect())
		no := (*unfit)(nil)
		if !errors.As(err, &no) {
			return err
		}
		p.stops = no.reason
	}
	if p.journal.Mode == patch.Independent {
		r.o.Log.Info("stops the process", "pid", r.info.PID, "because", p.stops)
	}
	if err := r.refresh(); err != nil { // the stack check must know the new code
		return err
	}
	c := p.redirect()
	if err := r.tell(&c, p); err != nil {
		return err
	}
	return r.swap(c)
}

// consistency is how a bundle of this mode is applied when asked is wanted: as
// it says, or more carefully.
func consistency(bundle, asked patch.Mode) (patch.Mode, error) {
	switch {
	case asked == "", asked == bundle:
		return bundle, nil
	case asked == patch.Strict:
		return patch.Strict, nil
	}
	return "", refuse("this hotpatch is %s: its functions were not proved to be %s", bundle, asked)
}

// prepare plans and loads, anew when the process has used the room that was
// planned for meanwhile.
func (r *run) prepare(b *patch.Bundle, id patch.ID, mode patch.Mode) (*plan, error) {
	for fresh := false; ; {
		p, err := r.plan(b, id, signature{r.o.By, mode, r.o.few}, fresh)
		switch {
		case errors.Is(err, errRoomUsed) && fresh:
			return nil, refuse("what is noted in the process of earlier hotpatches leads to memory that is free: something else wrote it")
		case errors.Is(err, errRoomUsed):
			fresh = true
			continue
		case err != nil:
			return nil, err
		}
		for _, err := range p.alone {
			r.o.Log.Info("left an unwinder alone", "pid", r.info.PID, "err", err)
		}
		if err := r.o.step("planned"); err != nil {
			return nil, err
		}
		if p.exchange != nil {
			r.avoid = p.exchange.page
		}
		err = r.load(p)
		if !errors.Is(err, errRoomTaken) || time.Now().After(r.deadline) {
			return p, err
		}
		if err := r.refresh(); err != nil {
			return nil, err
		}
	}
}

// revert is the way back.
func (r *run) revert(id patch.ID) error {
	if err := r.recoverAll(); err != nil {
		return err
	}
	active := byID(r.journals, id, func(p phase) bool { return p == applied })
	if len(active) == 0 {
		if len(byID(r.journals, id, func(phase) bool { return true })) > 0 {
			return errAlready
		}
		return &skip{"it does not carry this hotpatch"}
	}
	for i := len(active) - 1; i >= 0; i-- {
		j := active[i]
		st, err := j.stands(r.mem)
		if err != nil {
			return err
		}
		if st != allNew {
			return refuse("the entries of hotpatch %s are not as it left them: something else changed them", id.Short())
		}
		c := j.restore()
		if err := r.untellOnly(&c, j); err != nil {
			return err
		}
		if err := r.swap(c); err != nil {
			return err
		}
		if err := r.o.step("reverted"); err != nil {
			return err
		}
		if err := r.confirm(j, reverted); err != nil {
			return err
		}
	}
	return nil
}

// confirm reads the result back from the running process.
func (r *run) confirm(j *journal, want phase) error {
	st, err := j.stands(r.mem)
	if err != nil {
		return err
	}
	var head [headerSize]byte
	if _, err := r.mem.ReadAt(head[:], int64(j.Addr)); err != nil {
		return err
	}
	h, err := decodeHead(head[:], j.Regions[0].RX)
	if err != nil {
		return err
	}
	if h.phase != want || (want == applied) != (st == allNew) || (want == reverted) != (st == allOld) {
		return errors.New("the process does not hold what was written: something else changes its code")
	}
	return r.confirmHooks(j, want == applied)
}

// redirect leads all entries to the new code. No replaced function may be on a
// stack; where old code may finish (patch.Independent), nobody may be between
// the bytes of an entry.
func (j *journal) redirect() change {
	c := change{journal: j.Addr, before: prepared, after: applied}
	for _, s := range j.Sites {
		c.edits = append(c.edits, edit{s.Addr, s.Old, s.New})
		c.guards = append(c.guards, s.guards()...)
		if j.Mode == patch.Independent {
			c.least = append(c.least, guard{s.Addr, s.Addr + uint64(len(s.New)), "the entry of " + s.Name})
		}
	}
	return c
}

func (s site) guards() []guard {
	var gs []guard
	for _, r := range s.Ranges {
		gs = append(gs, guard{r[0], r[1], cmp.Or(s.Name, "padding that leads to new code")})
	}
	return gs
}

// guards is the carried code of the transaction.
func (j *journal) guards() []guard {
	var gs []guard
	for _, g := range j.Regions {
		lo, hi := g.code()
		gs = append(gs, guard{lo, hi, "code of hotpatch " + j.ID.Short()})
	}
	for _, s := range j.Sites {
		if s.pads() {
			gs = append(gs, s.guards()...)
		}
	}
	for _, h := range j.Hooks {
		lo, hi := h.Room.code()
		gs = append(gs, guard{lo, hi, "the finder of hotpatch " + j.ID.Short()})
	}
	return gs
}

// restore sets all entries back to what the images had. No carried code may be
// on a stack.
func (j *journal) restore() change {
	c := change{journal: j.Addr, before: undoing, after: reverted, guards: j.guards()}
	for _, s := range slices.Backward(j.Sites) { // entries before the padding they lead through
		if s.redirects() {
			c.edits = append(c.edits, edit{s.Addr, s.New, s.Orig})
		}
	}
	for _, g := range j.Regions {
		if !g.Void {
			c.images = append(c.images, g)
		}
	}
	return c
}
