package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// crashes are the signals by which the kernel, or a program that finds itself
// broken, ends it. Others are somebody's wish.
var crashes = []syscall.Signal{
	syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGSYS, syscall.SIGTRAP,
}

// Crashes reports every process on the host that such a signal ends, until ctx
// ends. lost is called when the kernel dropped events: somebody may be missing.
// It listens where exec events come from, and needs what they need.
func Crashes(ctx context.Context, crashed func(pid int, by syscall.Signal), lost func()) error {
	e, err := listenExecs()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, e.close)
	defer stop()
	defer e.close()
	buf := make([]byte, 4096)
	for {
		n, err := e.file.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, os.ErrClosed) {
			return fmt.Errorf("listen for crashes: %w", err)
		}
		if err != nil {
			lost() // ENOBUFS: we were too slow
			time.Sleep(time.Millisecond)
			continue
		}
		ev, err := parseExec(buf[:n])
		if err != nil || ev.what != eventExit || ev.tid != ev.pid {
			continue // a thread: its process goes on, or ends with the same signal
		}
		if by := syscall.Signal(ev.status & 0x7f); slices.Contains(crashes, by) {
			crashed(int(ev.pid), by)
		}
	}
}
