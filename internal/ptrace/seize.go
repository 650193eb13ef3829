package ptrace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrStarting: the thread cannot be traced before its process has started another
// program, or has failed to, and that takes long.
var ErrStarting = errors.New("its process is starting another program")

// longestSeize is how long the kernel may keep us waiting for a process that
// starts another program. That takes as long as it takes to open the file: for
// ever, if that is a network's or under a lease. Threads that we trace already
// stand from their next signal on meanwhile.
const longestSeize = 20 * time.Millisecond

// The kernel waits for cred_guard_mutex in PTRACE_SEIZE so that signals interrupt
// it, and then begins anew by itself (ERESTARTNOINTR), whatever the handler's
// flags. Other threads cannot seize or let go for this one, and it cannot be
// ended alone. So the handler of giveUpSignal, which no other does, sees to it
// that an interrupted PTRACE_SEIZE returns EINTR: it skips the instruction that
// would make the call anew. Anywhere else it does nothing.
const giveUpSignal = 64 // SIGRTMAX, which neither the runtime nor the C library uses

func giveUp()
func giveUpReturn()
func giveUpCode() (handler, restorer uintptr)

// canGiveUp installs the handler, once.
var canGiveUp = sync.OnceValue(func() error {
	const info, restores, onStack, restarts = 0x4, 0x04000000, 0x08000000, 0x10000000 // SA_SIGINFO, SA_RESTORER, SA_ONSTACK, SA_RESTART
	var act struct {
		handler  uintptr
		flags    uint64
		restorer uintptr
		mask     uint64
	}
	act.handler, act.restorer = giveUpCode()
	act.flags = info | restores | onStack | restarts
	act.mask = ^uint64(0)
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, giveUpSignal, uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if e != 0 {
		return fmt.Errorf("handle signal %d: %w", giveUpSignal, e)
	}
	return nil
})

// unblockGiveUp lets the signal through to this OS thread, whoever started us.
func unblockGiveUp() {
	mask := uint64(1) << (giveUpSignal - 1)
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
}

// seize begins to trace a thread without stopping it. While its process starts
// another program the kernel lets us wait for that, so this one request is
// announced to the Go scheduler. buryMeanwhile bounds the wait.
func (t *Tracer) seize(tid int, opts uintptr) error {
	t.seizes.Add(1)
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, opts, 0, 0)
	t.seizes.Add(1)
	if e == unix.EINTR {
		return ErrStarting
	}
	return requestError(e)
}

// buryMeanwhile takes note of the end of threads that we trace, in the background,
// when what we do until stop is called takes suspiciously long. When one thread of
// a process starts another program, it waits for the end of all others, those
// included that we have already, and keeps us waiting for itself where we ask to
// seize one more (cred_guard_mutex): for ever, were it not that any thread of ours
// can take note. It asks of all that list shows: the kernel attaches to us what
// our threads clone, without our knowing.
//
// It also ends a seize that takes longest.
func (t *Tracer) buryMeanwhile(list Lister) (stop func()) {
	const suspicious, again = 2 * time.Millisecond, time.Millisecond
	over, ended := make(chan struct{}), make(chan struct{})
	begun := t.seizes.Load()
	timer := time.AfterFunc(suspicious, func() {
		defer close(ended)
		seizes, since := begun, time.Now()
		for {
			select {
			case <-over:
				return
			default:
			}
			// As long as one thread after the other is seized, none keeps us waiting;
			// and to ask of a thousand holds up who seizes the thousand.
			if t.seizes.Load() == seizes {
				t.buryEnded(list)
			}
			if now := t.seizes.Load(); now != seizes || now%2 == 0 {
				seizes, since = now, time.Now()
			} else if time.Since(since) > longestSeize && canGiveUp() == nil {
				_ = unix.Tgkill(os.Getpid(), t.tid, giveUpSignal)
			}
			select {
			case <-over:
			case <-time.After(again):
			}
		}
	})
	return func() {
		close(over)
		if !timer.Stop() {
			<-ended // what it lists with may be closed next
		}
	}
}

// buryEnded takes note of the end of the threads that we trace.
func (t *Tracer) buryEnded(list Lister) {
	t.mu.Lock()
	ours := slices.Clone(t.mine)
	t.mu.Unlock()
	if listed, err := list(); err == nil { // else they are all gone
		ours = append(ours, listed...)
	}
	for _, tid := range ours {
		if hasEnded(tid) { // false of what we do not trace
			_, _, _ = t.poll(tid)
		}
	}
}
