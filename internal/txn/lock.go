package txn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// lock keeps two tools from working on one process at the same time, whoever
// runs them. The lock is on the process's own maps in /proc, and ends with its
// holder: that file can be opened only by those who may look into the process,
// so that nobody else can hold it up. Its own user can, as by tracing it.
func (r *run) lock() (unlock func(), err error) {
	for {
		f, live, err := openLock(r.info.PID)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			// The thread that the file is of may have ended meanwhile.
			if now, rerr := proc.Read(r.info.PID); rerr == nil && now.Live == live {
				return func() { f.Close() }, nil
			} else if rerr != nil {
				f.Close()
				return nil, rerr
			}
			f.Close()
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock process: %w", err)
		}
		late := time.Now().After(r.deadline)
		if late {
			err = &busy{reason: heldBy(f)}
		}
		f.Close()
		if late {
			return nil, err
		}
		if err := r.pause(5 * time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// openLock opens what is locked, and tells the thread of the process that it is
// of: the first that is alive.
func openLock(pid int) (f *os.File, live int, err error) {
	i, err := proc.Read(pid)
	if err != nil {
		return nil, 0, err
	}
	if i.Live == 0 {
		return nil, 0, fmt.Errorf("lock process %d: %w", pid, proc.ErrGone)
	}
	f, err = os.Open(fmt.Sprintf("/proc/%d/task/%d/maps", pid, i.Live))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, 0, fmt.Errorf("lock process %d: %w", pid, proc.ErrGone)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("lock process %d: %w", pid, err)
	}
	return f, i.Live, nil
}

// heldBy says who holds the lock: proc_locks(5).
func heldBy(f *os.File) string {
	const somebody = "another hotpatch is at work on it"
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return somebody
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return somebody
	}
	defer locks.Close()
	const most = 1 << 20
	text, err := io.ReadAll(io.LimitReader(locks, most))
	if err != nil {
		return somebody
	}
	// 1: FLOCK  ADVISORY  WRITE 3568 00:15:37049 0 EOF
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil {
			if comm, err := proc.Comm(pid); err == nil {
				return fmt.Sprintf("%s: process %d (%s) holds its lock", somebody, pid, comm)
			}
		}
	}
	return somebody
}
