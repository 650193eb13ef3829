package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// PIDs lists all processes on the host (of our pid namespace), in order.
func PIDs() ([]int, error) {
	fd, err := open("/proc", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open /proc: %w", err)
	}
	defer unix.Close(fd)
	pids, err := numbers(fd, nil)
	if err != nil {
		return nil, fmt.Errorf("list /proc: %w", err)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("list /proc: no process in it (is it mounted?)")
	}
	slices.Sort(pids)
	return pids, nil
}

// Threads lists the thread ids of a process, the leader first.
func Threads(pid int) ([]int, error) {
	t, err := OpenTasks(pid)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.List(nil)
}

// Tasks is the open /proc/PID/task of one process, for listing its threads
// again and again. It stays with this process: when its number is given to
// another one, List says ErrGone.
type Tasks struct{ pid, fd int }

// OpenTasks opens the thread list of a process.
func OpenTasks(pid int) (*Tasks, error) {
	fd, err := open(path(pid, "task"), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, explain("list threads", pid, err)
	}
	return &Tasks{pid, fd}, nil
}

// List appends the thread ids to tids[:0]. Threads that are created or end
// meanwhile may or may not be in it: who needs all of them lists until nothing
// new appears.
//
// The kernel hands out a long list in pieces, and a thread that ends between two
// of them can make it leave out others, which were there all the time. So a list
// with fewer threads than there are is made again; of a process in which none
// begins or ends any more, all are in it.
func (t *Tasks) List(tids []int) ([]int, error) {
	const tries = 4
	for try := 1; ; try++ {
		tids, err := t.list(tids)
		if err != nil || try == tries {
			return tids, err
		}
		if n, err := t.Count(); err != nil || n <= len(tids) {
			return tids, nil
		}
	}
}

func (t *Tasks) list(tids []int) ([]int, error) {
	if _, err := unix.Seek(t.fd, 0, 0); err != nil {
		return nil, explain("list threads", t.pid, err)
	}
	tids, err := numbers(t.fd, tids[:0])
	if err == nil && len(tids) == 0 {
		err = unix.ESRCH
	}
	if err != nil {
		return nil, explain("list threads", t.pid, err)
	}
	return tids, nil
}

// Count is how many threads there are, zombies included. It takes the same time
// for any number of them: the kernel tells it as the directory's links
// (proc_task_getattr). Where it tells something else, that is less than 1.
func (t *Tasks) Count() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return 0, explain("count threads", t.pid, err)
	}
	return int(st.Nlink) - 2, nil // itself and its name, as every directory
}

// State is ThreadState of one of the threads. Here and below the kernel looks for
// the thread alone, which is a fifth of what it takes to ask it by a whole name.
func (t *Tasks) State(tid int) (byte, error) {
	return threadState(t.fd, strconv.Itoa(tid)+"/stat", t.pid, tid)
}

// Syscall is ReadSyscall of one of the threads.
func (t *Tasks) Syscall(tid int) (Syscall, error) {
	return readSyscall(t.fd, strconv.Itoa(tid)+"/syscall", t.pid, tid)
}

// Children is Children as far as these threads have started them.
func (t *Tasks) Children(tids []int) (pids []int, err error) {
	var arr [4096]byte
	for _, tid := range tids {
		b, err := slurp(t.fd, strconv.Itoa(tid)+"/children", arr[:0])
		if err != nil {
			if err = explain("read children", t.pid, err); errors.Is(err, ErrGone) {
				continue // the thread ended, or the file does not exist
			}
			return nil, err
		}
		for _, f := range bytes.Fields(b) {
			n, err := strconv.Atoi(string(f))
			if err != nil {
				return nil, fmt.Errorf("read children of process %d: %q is no pid", t.pid, f)
			}
			pids = append(pids, n)
		}
	}
	return pids, nil
}

// Close releases the directory.
func (t *Tasks) Close() error { return unix.Close(t.fd) }

// numbers appends the names of a directory that are numbers.
func numbers(fd int, out []int) ([]int, error) {
	// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name.
	const nameAt = 19
	var arr [8 << 10]byte // more would have to be found on the stack first
	for {
		n, err := unix.Getdents(fd, arr[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		for b := arr[:n]; len(b) > nameAt; {
			l := int(binary.LittleEndian.Uint16(b[16:]))
			if l <= nameAt || l > len(b) {
				return nil, fmt.Errorf("directory entry of %d bytes", l)
			}
			v := 0
			for _, c := range b[nameAt:l] {
				if c < '0' || c > '9' || v > 1<<40 {
					if c != 0 {
						v = 0
					}
					break
				}
				v = v*10 + int(c-'0')
			}
			if v > 0 {
				out = append(out, v)
			}
			b = b[l:]
		}
	}
}

// Children lists the processes that threads of pid have started and that are
// still its children. A kernel that does not tell (CONFIG_PROC_CHILDREN) lists
// none.
func Children(pid int) ([]int, error) {
	t, err := OpenTasks(pid)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	tids, err := t.List(nil)
	if err != nil {
		return nil, err
	}
	return t.Children(tids)
}
