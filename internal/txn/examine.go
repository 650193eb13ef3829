package txn

import (
	"errors"
	"fmt"

	"hotpatch/internal/proc"
)

// Look is what Apply would find in a process before it changes anything.
type Look struct {
	Info       proc.Info
	Mappings   int
	Modules    []proc.Module
	Carried    []State
	Objections []Objection
}

// About is what an objection concerns.
type About string

// What Apply looks at before it borrows a thread, in its order. What a bundle
// has to fit (build-ids, pre-images) is not among it.
const (
	OfAccess     About = "access"     // it is there, has memory, and we may change it
	OfTracer     About = "tracer"     // nobody else traces it
	OfSharing    About = "sharing"    // no other process shares its memory
	OfLoaded     About = "loaded"     // mappings and images can be read
	OfUnfinished About = "unfinished" // what a killed tool left can be read and dealt with
	OfStacks     About = "stacks"     // it does not switch stacks by itself
	OfPadding    About = "padding"    // there is room for the stub
	OfRoom       About = "room"       // there is free address space near every image
)

// Objection is why Apply would leave the process alone.
type Objection struct {
	About   About
	Outcome Outcome
	Reason  string
}

// smallest is the least room that a hotpatch takes: journal, code, variables.
const smallest = 4 * pageSize

// Examine judges a process as Apply does, and touches nothing: no thread is
// stopped and nothing is written. It opens the process's memory for writing,
// which asks the kernel the same question. An error is a failure to judge.
func Examine(pid int, tables *Tables) (*Look, error) {
	if tables == nil {
		tables = &Tables{}
	}
	l := &Look{}
	t, err := openTarget(pid, tables)
	if err != nil {
		l.object(pid, OfAccess, err)
		if info, rerr := proc.Read(pid); rerr == nil {
			l.Info = info
		}
		return l, nil
	}
	defer t.close()
	l.Info = t.info
	if err := t.free(); err != nil {
		about := OfTracer
		if b := (*busy)(nil); errors.As(err, &b) {
			about = OfSharing
		}
		l.object(pid, about, err)
	}
	if err := t.meet(); err != nil {
		if t.changed() {
			return nil, fmt.Errorf("process %d ended meanwhile: %w", pid, proc.ErrGone)
		}
		l.object(pid, OfLoaded, err)
		return l, nil
	}
	l.Mappings, l.Modules = len(t.maps), t.modules
	l.examine(t)
	if t.changed() {
		return nil, fmt.Errorf("process %d ended meanwhile: %w", pid, proc.ErrGone)
	}
	return l, nil
}

func (l *Look) examine(t *target) {
	pid := t.info.PID
	var err error
	if l.Carried, err = states(t.maps, among(t.modules), t.mem); err != nil {
		l.object(pid, OfUnfinished, err)
	}
	if err := t.noCoroutines(); err != nil {
		l.object(pid, OfStacks, err)
	}
	room, err := t.findRoom(anyPage)
	if err == nil && room.at == 0 {
		err = noRoom()
	}
	if err != nil {
		l.object(pid, OfPadding, err)
	}
	for _, m := range t.modules {
		if m.BuildID == "" || m.Path == "[vdso]" {
			continue
		}
		if _, err := place(t.maps, m.Lo(), m.Hi(), smallest, nil); err != nil {
			l.object(pid, OfRoom, refuse("%v: %s", err, m.Path))
		}
	}
}

func (l *Look) object(pid int, about About, err error) {
	o := Objection{About: about}
	if errors.Is(err, proc.ErrGone) {
		o.Outcome, o.Reason = Died, err.Error()
	} else {
		o.Outcome, o.Reason = judge(pid, err)
	}
	l.Objections = append(l.Objections, o)
}
