package txn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// lock keeps two tools from working on one process at the same time, whoever
// runs them. The lock is on the process's own maps in /proc, and ends with its
// holder: that file can be opened only by those who may look into the process,
// so that nobody else can hold it up. Its own user can, as by tracing it.
func (r *run) lock() (unlock func(), err error) {
	for live := r.info.Live; ; {
		fds, err := lockMaps(r.info.PID, live)
		// The thread that the file is of may have ended: all agree on the first
		// one that is alive.
		now, lerr := r.firstAlive(live)
		held := errors.Is(err, unix.EWOULDBLOCK)
		ends := errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) // it has no memory any more, and is not dead yet
		switch late := time.Now().After(r.deadline); {
		case lerr != nil:
			err = lerr
		case err == nil && now == live:
			return fds.close, nil
		case late && held:
			err = &busy{reason: heldBy(fds[len(fds)-1])}
		case late && now != live:
			err = &busy{reason: "its threads come and go too quickly to be stopped"}
		case now != live:
			err = nil
		case held || ends && !late:
			err = r.pause(5 * time.Millisecond)
		default:
			err = fmt.Errorf("lock process: %w", err)
		}
		fds.close()
		if err != nil {
			return nil, err
		}
		live = now
	}
}

// locked are files that are locked; where one could not be, it is the last.
type locked []int

func (l locked) close() {
	for _, fd := range l {
		unix.Close(fd)
	}
}

// lockMaps locks the maps of a thread in our /proc, and in that on which all tools
// agree.
func lockMaps(pid, tid int) (l locked, err error) {
	for _, dir := range []string{"/proc", procOfAll()} {
		if dir == "" {
			continue
		}
		fd, err := openMaps(dir, pid, tid)
		if err != nil {
			return l, err
		}
		if len(l) > 0 && sameFileAs(l[0], fd) {
			unix.Close(fd)
			continue
		}
		l = append(l, fd)
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return l, err
		}
	}
	return l, nil
}

// openMaps does without the runtime's poller, which is of no use here and costs five
// more system calls.
func openMaps(dir string, pid, tid int) (fd int, err error) {
	for {
		fd, err = unix.Open(fmt.Sprintf("%s/%d/task/%d/maps", dir, pid, tid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// procOfAll is the /proc on which all tools agree: the one that the first process
// sees. Each mount of /proc has files of its own (Linux 5.8), and a tool in another
// mount namespace, such as that of a container, may see another one. "": it is ours,
// or we may not look, or it does not show what ours does.
var procOfAll = sync.OnceValue(func() string {
	dir := procOf(1)
	var ours, theirs unix.Stat_t
	if dir == "" || unix.Stat("/proc", &ours) != nil || unix.Stat(dir, &theirs) != nil || ours.Dev == theirs.Dev {
		return ""
	}
	return dir
})

// procOf is the /proc that a process sees, if it shows our pid namespace.
func procOf(pid int) string {
	dir := fmt.Sprintf("/proc/%d/root/proc", pid)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return ""
	}
	if self, err := os.Readlink(dir + "/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return ""
	}
	return dir
}

func sameFileAs(fd, other int) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Fstat(other, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// firstAlive is the first thread of the process that is alive; was has been so.
func (r *run) firstAlive(was int) (int, error) {
	if was == r.info.PID {
		if s, err := proc.ThreadState(was, was); err == nil && s != 'Z' && s != 'X' && s != 'x' {
			return was, nil
		}
	}
	i, err := proc.Read(r.info.PID)
	if err == nil && i.Live == 0 {
		err = fmt.Errorf("lock process %d: %w", r.info.PID, proc.ErrGone)
	}
	return i.Live, err
}

// heldBy says who holds the lock: proc_locks(5).
func heldBy(fd int) string {
	const somebody = "another hotpatch is at work on it"
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
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
