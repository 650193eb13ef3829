package proc

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Patience bounds how long processes are waited for that do not let themselves be
// read: a page of theirs may be of a filesystem whose daemon (FUSE) never gives it.
// No read of ours ends before that, so it is left to itself. The zero value is
// ready; several may ask at once.
type Patience struct {
	mu    sync.Mutex
	stuck int // so many were given up
}

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

// Ask calls f, which looks at process pid, and waits until it is done. ErrStuck: it
// is not, and goes on by itself; what it does then must be of no consequence.
func (p *Patience) Ask(pid int, f func()) error {
	l := leftAlone()
	l.mu.Lock()
	known, all := l.all[pid], len(l.all)
	l.mu.Unlock()
	if known > 0 || all > mostLeft {
		return fmt.Errorf("read process %d: %w", pid, ErrStuck)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	p.mu.Lock()
	wait := max(shortest, longest>>min(p.stuck, 10))
	p.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	p.mu.Lock()
	p.stuck++
	p.mu.Unlock()
	l.mu.Lock()
	l.all[pid]++
	l.mu.Unlock()
	go func() {
		<-done
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.all[pid]--; l.all[pid] == 0 {
			delete(l.all, pid)
		}
	}()
	return fmt.Errorf("read process %d: %w", pid, ErrStuck)
}
