// Package proc reads /proc: mappings, build-ids, threads, identities. It only
// reads, never stops or changes a process, and every failed read is an error.
//
// Everything here is a snapshot of something that moves: a process may end or
// change between two calls. What is gone is reported as ErrGone, what may not
// be looked at as a permission error (errors.Is(err, fs.ErrPermission)).
//
// proc(5), Documentation/filesystems/proc.rst.
package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process is not there (any more).
var ErrGone = errors.New("no such process")

// maxFile bounds a file of /proc. The largest, maps, is 6 MB at the default
// vm.max_map_count of 65,530.
const maxFile = 256 << 20

// path is /proc/PID/name.
func path(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// taskPath is /proc/PID/task/TID/name.
func taskPath(pid, tid int, name string) string {
	var arr [64]byte
	b := strconv.AppendInt(append(arr[:0], "/proc/"...), int64(pid), 10)
	b = strconv.AppendInt(append(b, "/task/"...), int64(tid), 10)
	return string(append(append(b, '/'), name...))
}

// explainThread is explain for a file of a thread. what lacks its number.
func explainThread(what string, pid, tid int, err error) error {
	if err == nil {
		return nil
	}
	return explain(what+" "+strconv.Itoa(tid), pid, err)
}

// open opens a file of /proc without the runtime's poller, which costs two
// more system calls and is of no use there.
func open(name string, flags int) (int, error) {
	return openat(unix.AT_FDCWD, name, flags)
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// slurp appends the whole file to buf[:0], which may be a list that the kernel
// hands out in pieces, as maps.
func slurp(dir int, name string, buf []byte) ([]byte, error) {
	return read(dir, name, buf, false)
}

// record is slurp for a file of a process that is one record, such as stat: the
// kernel hands out as much of it as there is room for (seq_file's single_open,
// simple_read_from_buffer), so that what leaves room is all there is. To ask for the
// end would be a fourth system call where three do.
func record(dir int, name string, buf []byte) ([]byte, error) {
	return read(dir, name, buf, true)
}

func read(dir int, name string, buf []byte, whole bool) ([]byte, error) {
	fd, err := openat(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf = buf[:0]
	for {
		if cap(buf)-len(buf) < 128 { // the last read finds nothing, and wants room
			buf = append(buf, make([]byte, max(cap(buf), 4096))...)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return buf, nil
		default:
			if buf = buf[:len(buf)+n]; len(buf) > maxFile {
				return nil, fmt.Errorf("more than %d bytes", maxFile)
			}
			if whole && len(buf) < cap(buf) {
				return buf, nil
			}
		}
	}
}

// explain turns the kernel's answer about process pid into one that says what
// to do about it. what is a verb with its object: "read maps".
func explain(what string, pid int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrGone):
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT):
		if hidden(pid) {
			return fmt.Errorf("%s of process %d: hidden from user %d (/proc is mounted with hidepid): %w",
				what, pid, unix.Geteuid(), fs.ErrPermission)
		}
		return fmt.Errorf("%s of process %d: %w (%w)", what, pid, ErrGone, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s of process %d: %s: %w", what, pid, whyDenied(pid), err)
	}
	return fmt.Errorf("%s of process %d: %w", what, pid, err)
}

// hidden tells a process that hidepid=2 hides from one that is not there.
// Signal 0 sends nothing.
func hidden(pid int) bool {
	return pid > 0 && unix.Kill(pid, 0) == unix.EPERM
}

// whyDenied is a guess in words at the check that refused us: the rules are
// those of ptrace(2), "Ptrace access mode checking".
func whyDenied(pid int) string {
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(pid), &st); err != nil {
		return "not visible"
	}
	me := unix.Geteuid()
	if int(st.Uid) != me {
		return fmt.Sprintf("it belongs to user %d and we are user %d", st.Uid, me)
	}
	return "it is protected (not dumpable, more capable than we are, or in another user namespace; or ptrace_scope forbids it)"
}
