package txn

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Turns lets several processes be changed by one caller without one that is
// busy holding up the others: each is worked on in a goroutine of its own,
// which holds a turn, and gives it away for as long as it only waits.
// A nil Turns bounds nothing.
type Turns chan struct{}

// NewTurns allows as many processes at the same moment as leaves each of them,
// and the thread that stops it, a processor.
func NewTurns() Turns { return make(Turns, max(1, runtime.NumCPU()/2)) }

// Take waits for a turn.
func (t Turns) Take() {
	if t != nil {
		t <- struct{}{}
	}
}

// Give ends a turn.
func (t Turns) Give() {
	if t != nil {
		<-t
	}
}

// rest sleeps without a turn, unless the caller gives up first.
func (t Turns) rest(ctx context.Context, d time.Duration) error {
	t.Give()
	defer t.Take()
	if d < time.Millisecond { // of which the runtime's timers would make one
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil)
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
