package proc

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrStuck says that a process did not let itself be read for seconds.
var ErrStuck = errors.New("its memory does not answer: it may be of a filesystem that does not")

const (
	longest  = 4 * time.Second // for the first that is stuck; the next ones get half of it
	shortest = 250 * time.Millisecond
	mostLeft = 1000 // reads that are left to themselves; each keeps a thread
)

// left are the processes with reads that were left to themselves.
type left struct {
	mu  sync.Mutex
	all map[int]int // by process
}

var leftAlone = sync.OnceValue(func() *left { return &left{all: map[int]int{}} })

// refuses says that a process is not to be asked, since it has not answered yet.
func (l *left) refuses(pid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[pid] > 0 || len(l.all) > mostLeft
}

func (l *left) add(pid, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[pid] += n; l.all[pid] == 0 {
		delete(l.all, pid)
	}
}

// Each puts a question about every process, as many at a time as there are
// processors, and hands the answers to take, one at a time, with the place of the
// process in the list. ask may use the buffer for what it reads, and returns it,
// perhaps grown, for the next.
//
// Processes are waited for only so long: a page of theirs may be of a filesystem
// whose daemon (FUSE) never gives it, and no read of ours ends before that. Of one
// that does not let itself be read for seconds take gets ErrStuck. ask goes on by
// itself then, even after Each has returned; its answer is dropped, and what else it
// does must be of no consequence.
func Each[T any](pids []int, ask func(pid int, buf []byte) (T, []byte), take func(k int, answer T, err error)) {
	if len(pids) == 0 {
		return
	}
	e := &each[T]{pids: pids, ask: ask, take: take, all: map[*asker]bool{}, done: make(chan struct{})}
	e.mu.Lock()
	for range min(runtime.GOMAXPROCS(0), len(pids)) {
		e.begin()
	}
	e.mu.Unlock()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-timer.C:
			timer.Reset(e.giveUp())
		}
	}
}

// each is one call of Each. Who asks does so without a goroutine or a timer for
// every process, which take as long as the shortest answers.
type each[T any] struct {
	pids []int
	ask  func(pid int, buf []byte) (T, []byte)
	take func(k int, answer T, err error)
	done chan struct{} // closed when nobody asks any more

	mu    sync.Mutex // held for take, too
	next  int
	stuck int // so many were given up
	all   map[*asker]bool
}

// asker asks one process after the other.
type asker struct {
	k     int // what it asks now, and since when; -1: nothing yet
	since time.Time
	left  bool // to itself: somebody else goes on in its place
}

// begin starts one more asker; e.mu is held.
func (e *each[T]) begin() {
	a := &asker{k: -1}
	e.all[a] = true
	go e.run(a)
}

func (e *each[T]) run(a *asker) {
	var buf []byte
	var answer T
	e.mu.Lock()
	for e.next < len(e.pids) {
		a.k, a.since = e.next, time.Now()
		e.next++
		pid := e.pids[a.k]
		if leftAlone().refuses(pid) {
			e.giveUpOne(a.k)
			continue
		}
		e.mu.Unlock()
		answer, buf = e.ask(pid, buf)
		e.mu.Lock()
		if a.left {
			e.mu.Unlock()
			leftAlone().add(pid, -1)
			return
		}
		e.take(a.k, answer, nil)
	}
	delete(e.all, a)
	if len(e.all) == 0 {
		close(e.done)
	}
	e.mu.Unlock()
}

// giveUp leaves those askers to themselves that have waited for too long, and says
// when it is time to look again.
func (e *each[T]) giveUp() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait := func() time.Duration { return max(shortest, longest>>min(e.stuck, 10)) }
	again := longest
	for a := range e.all {
		if a.k < 0 {
			continue
		}
		if rest := wait() - time.Since(a.since); rest > 0 {
			again = min(again, rest)
			continue
		}
		e.stuck++
		a.left = true
		delete(e.all, a)
		leftAlone().add(e.pids[a.k], 1)
		e.giveUpOne(a.k)
		e.begin()
	}
	return min(again, wait())
}

func (e *each[T]) giveUpOne(k int) {
	var none T
	e.take(k, none, fmt.Errorf("read process %d: %w", e.pids[k], ErrStuck))
}
