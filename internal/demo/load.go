package demo

import (
	"errors"
	"sync"
	"time"
)

// worker is one connection of the load. Round sends some requests, reads and
// checks every answer, and says how many it sent.
type worker interface {
	Round() (requests int, err error)
	Close() error
}

// load asks a server all the time, from several connections, and keeps count.
type load struct {
	quit  chan struct{}
	ended sync.WaitGroup

	mu      sync.Mutex // of everything below
	sum     total
	began   time.Time
	longest time.Duration
}

// total is what the load saw since it began.
type total struct {
	Requests, Failed int64
	Since            time.Duration
	First            error // of the failures
}

// pace is the rest between the rounds of one connection: a steady load that
// leaves a small machine room to breathe.
const pace = time.Millisecond

// startLoad opens n connections and works on them until stop.
func startLoad(n int, open func(i int) (worker, error)) (*load, error) {
	l := &load{quit: make(chan struct{}), began: time.Now()}
	for i := range n {
		w, err := open(i)
		if err != nil {
			l.stop()
			return nil, err
		}
		l.ended.Go(func() { l.work(w, func() (worker, error) { return open(i) }) })
	}
	return l, nil
}

// work does rounds. A connection that failed is opened anew; the failure is
// counted, as is every attempt to open that fails.
func (l *load) work(w worker, reopen func() (worker, error)) {
	for {
		select {
		case <-l.quit:
			if w != nil {
				w.Close()
			}
			return
		case <-time.After(pace):
		}
		sent, n := time.Now(), 1
		var err error
		if w == nil {
			w, err = reopen()
		} else {
			n, err = w.Round()
		}
		l.count(n, time.Since(sent), err)
		if err != nil && w != nil {
			w.Close()
			w = nil
		}
	}
}

func (l *load) count(n int, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Requests += int64(n)
	l.longest = max(l.longest, took)
	if err != nil {
		l.sum.Failed += int64(max(n, 1))
		if l.sum.First == nil {
			l.sum.First = err
		}
	}
}

// mark returns the longest time that any client waited for its answers since
// the last mark.
func (l *load) mark() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.longest
	l.longest = 0
	return d
}

func (l *load) total() total {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.sum
	if t.Since == 0 {
		t.Since = time.Since(l.began)
	}
	return t
}

// stop ends the load after the rounds that are under way. It may be called
// more than once.
func (l *load) stop() {
	select {
	case <-l.quit:
		return
	default:
	}
	close(l.quit)
	l.ended.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Since = time.Since(l.began)
}

var errWrongAnswer = errors.New("wrong answer")
