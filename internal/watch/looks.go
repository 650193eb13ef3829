package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hotpatch/internal/proc"
)

// atOnce is how many candidates are looked at at the same moment. A look takes less
// than a millisecond, or proc.Each's patience where a process's memory does not come.
const atOnce = 64

// looks are the questions about processes that are under way. Who asks does so on a
// goroutine of its own, since no read of memory need ever end (proc.ErrStuck), and
// hands the answer to Run. All of it is Run's alone but the two channels.
type looks struct {
	ctx    context.Context
	maps   func(pid int) (bool, error)
	images func() (pids []int, err error)

	answers chan answer
	scanned chan scan

	asked    map[int]bool    // of these
	behind   map[int]pending // to be asked of when that is answered
	scanning bool
	rescan   bool // once more, after the one under way
}

// answer says whether a candidate maps an image.
type answer struct {
	of     pending
	mapped bool
	err    error
}

// scan is who maps an image of all processes.
type scan struct {
	pids []int
	err  error
}

func (w *Watcher) looks(ctx context.Context) *looks {
	return &looks{ctx: ctx, maps: w.maps, images: w.all, answers: make(chan answer), scanned: make(chan scan),
		asked: map[int]bool{}, behind: map[int]pending{}}
}

// free is how many more may be asked about before there is an answer.
func (l *looks) free() int { return atOnce - len(l.asked) }

func (l *looks) full() bool { return l.free() <= 0 }

// ask begins to look at a candidate; at one that is looked at already, later: no more
// than one read waits for what never comes, however many signals draw attention to it.
func (l *looks) ask(c pending) {
	if l.asked[c.pid] {
		if first, more := l.behind[c.pid]; more {
			c = first.then(c)
		}
		l.behind[c.pid] = c
		return
	}
	l.asked[c.pid] = true
	go func() {
		a := answer{of: c}
		proc.Each([]int{c.pid}, func(pid int, buf []byte) (answer, []byte) {
			mapped, err := l.maps(pid)
			return answer{c, mapped, err}, buf
		}, func(_ int, got answer, stuck error) {
			if a = got; stuck != nil {
				a = answer{of: c, err: stuck}
			}
		})
		select {
		case l.answers <- a:
		case <-l.ctx.Done():
		}
	}()
}

// answered is told of each answer. again: it is to be looked at once more.
func (l *looks) answered(a answer) (later pending, again bool) {
	delete(l.asked, a.of.pid)
	later, again = l.behind[a.of.pid]
	delete(l.behind, a.of.pid)
	return later, again
}

// scan begins to look at every process; where that is under way, once more after it.
func (l *looks) scan() {
	if l.scanning {
		l.rescan = true
		return
	}
	l.scanning = true
	go func() {
		pids, err := l.images()
		select {
		case l.scanned <- scan{pids, err}:
		case <-l.ctx.Done():
		}
	}()
}

// done is told that every process was looked at.
func (l *looks) done() {
	l.scanning = false
	if l.rescan {
		l.rescan = false
		l.scan()
	}
}

// maps says whether the process maps one of the images, and has the files
// watched that it maps them from.
func (w *Watcher) maps(pid int) (bool, error) {
	modules, err := proc.Modules(pid)
	if err != nil {
		return false, err
	}
	found := false
	for _, m := range modules {
		if !w.want[m.BuildID] {
			continue
		}
		found = true
		if w.opens == nil || len(m.Maps) == 0 {
			continue
		}
		// Through the mapping: the file may be deleted, or of another mount
		// namespace.
		file := fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Maps[0].Start, m.Maps[0].End)
		if err := w.opens.add(file); err != nil {
			w.log.Debug("cannot watch a mapped file", "pid", pid, "file", m.Path, "err", err)
		}
	}
	return found, nil
}

// all looks at every process there is.
func (w *Watcher) all() (pids []int, err error) {
	ids := make([]string, 0, len(w.want))
	for id := range w.want {
		ids = append(ids, id)
	}
	candidates, denied, err := proc.Mapping(ids)
	if err != nil {
		return nil, fmt.Errorf("look at every process: %w", err)
	}
	for pid, err := range denied {
		w.log.Debug("could not look at a process", "pid", pid, "err", err)
	}
	proc.Each(candidates, func(pid int, buf []byte) (error, []byte) {
		_, err := w.maps(pid) // for its files
		return err, buf
	}, func(k int, err, stuck error) {
		if err == nil && stuck == nil {
			pids = append(pids, candidates[k])
		}
	})
	return pids, nil
}

// check deals with the answer about a candidate. An image is mapped some
// microseconds after it was opened, some milliseconds after execve.
func (w *Watcher) check(a answer, l *looks, r *reports) {
	later, again := l.answered(a)
	c := a.of
	switch {
	case errors.Is(a.err, proc.ErrGone):
	case a.mapped:
		r.start(Sighting{PID: c.pid, Via: c.via, At: c.at, Seen: time.Now()})
	default:
		if a.err != nil {
			w.log.Debug("looked at a process", "pid", c.pid, "err", a.err)
		}
		w.queue.again(c, time.Now())
	}
	if again && !w.queue.put(later) {
		w.missed()
	}
}
