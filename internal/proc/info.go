package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Info is what identifies a process and what limits patching it.
type Info struct {
	PID       int
	Comm      string
	State     byte   // of the leader, as in stat: R S D T t Z X
	Start     uint64 // start time in clock ticks since boot: with PID the identity
	UID       int    // effective user id
	PPID      int
	TracerPID int  // of thread Live; 0: not traced
	Seccomp   int  // of thread Live: 0 none, 1 strict, 2 filter
	Kernel    bool // kernel thread
	Dumping   bool // it has crashed and writes its core dump (Linux 4.15)
	Live      int  // a thread id that is not a zombie, for /proc files; 0: the process is dead
}

// pfKthread is PF_KTHREAD of include/linux/sched.h, in the flags of stat.
const pfKthread = 0x00200000

// Read reads the identity of a process. A thread id that is not the leader's is
// an error that names the process.
func Read(pid int) (Info, error) {
	i, err := identity(pid)
	if err != nil {
		return Info{}, explain("read identity", pid, err)
	}
	return i, nil
}

func identity(pid int) (Info, error) {
	// All files through one directory: it cannot change to another process that
	// gets the same number.
	dir, err := open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(dir)
	var arr [4096]byte
	buf, err := record(dir, "stat", arr[:0])
	if err != nil {
		return Info{}, err
	}
	st, err := ParseStat(buf)
	if err != nil {
		return Info{}, err
	}
	i := Info{PID: pid, Comm: st.Comm, State: st.State, Start: st.Start, PPID: st.PPID,
		Kernel: st.Flags&pfKthread != 0, Live: pid}
	status := "status"
	if dead(st.State) {
		if i.Live, err = liveThread(dir, pid, buf); err != nil {
			return Info{}, err
		}
		if i.Live != 0 {
			status = "task/" + strconv.Itoa(i.Live) + "/status"
		}
	}
	if buf, err = record(dir, status, buf); err != nil {
		return Info{}, err
	}
	return i, i.status(buf)
}

// status takes the fields of /proc/PID/status that stat does not have.
func (i *Info) status(b []byte) error {
	tgid := 0
	seen := 0
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		name, value, ok := bytes.Cut(line, []byte(":\t"))
		if !ok {
			continue
		}
		var to *int
		column := 0
		switch string(name) {
		case "Tgid":
			to = &tgid
		case "TracerPid":
			to = &i.TracerPID
		case "Uid": // real, effective, saved, filesystem
			to, column = &i.UID, 1
		case "Seccomp": // missing in kernels built without it
			to = &i.Seccomp
			seen--
		case "CoreDumping":
			i.Dumping = len(value) == 1 && value[0] == '1'
			continue
		default:
			continue
		}
		f := bytes.Fields(value)
		if column >= len(f) {
			return fmt.Errorf("status: no value in %q", line)
		}
		v, err := strconv.Atoi(string(f[column]))
		if err != nil {
			return fmt.Errorf("status: %s: %w", name, err)
		}
		*to = v
		seen++
	}
	if seen != 3 {
		return errors.New("status: no Tgid, Uid or TracerPid")
	}
	if tgid != i.PID {
		return fmt.Errorf("it is a thread of process %d", tgid)
	}
	return nil
}

// liveThread finds a thread that is not dead, 0 when there is none.
func liveThread(dir, pid int, buf []byte) (int, error) {
	fd, err := openat(dir, "task", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	tids, err := numbers(fd, nil)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		b, err := record(fd, strconv.Itoa(tid)+"/stat", buf)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
			continue // ended since the listing
		}
		if err != nil {
			return 0, err
		}
		st, err := ParseStat(b)
		if err != nil {
			return 0, err
		}
		if !dead(st.State) {
			return tid, nil
		}
	}
	return 0, nil
}

// dead is for zombies and what is being reaped: their memory is gone.
func dead(state byte) bool { return state == 'Z' || state == 'X' || state == 'x' }

// ThreadState is the state letter of one thread.
func ThreadState(pid, tid int) (byte, error) {
	return threadState(unix.AT_FDCWD, taskPath(pid, tid, "stat"), pid, tid)
}

func threadState(dir int, name string, pid, tid int) (state byte, err error) {
	var arr [1024]byte
	b, err := record(dir, name, arr[:0])
	if err == nil {
		state, err = ParseState(b)
	}
	return state, explainThread("read state of thread", pid, tid, err)
}

// Stat is what we take from /proc/PID/stat.
type Stat struct {
	Comm  string
	State byte
	PPID  int
	Flags uint64 // PF_* of the kernel
	Start uint64 // clock ticks since boot
}

// ParseStat decodes the text of a stat file: proc_pid_stat(5). The name is not
// escaped and may hold spaces, parentheses and newlines; nothing after it does.
func ParseStat(b []byte) (Stat, error) {
	lo, hi := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if lo < 0 || hi < lo {
		return Stat{}, errors.New("stat: no name in parentheses")
	}
	s := Stat{Comm: string(b[lo+1 : hi])}
	// Fields from the third on.
	f := bytes.Fields(b[hi+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return Stat{}, fmt.Errorf("stat: %d fields after the name", len(f))
	}
	s.State = f[0][0]
	var err error
	if s.PPID, err = strconv.Atoi(string(f[1])); err != nil {
		return Stat{}, fmt.Errorf("stat: parent: %w", err)
	}
	if s.Flags, err = strconv.ParseUint(string(f[6]), 10, 64); err != nil {
		return Stat{}, fmt.Errorf("stat: flags: %w", err)
	}
	if s.Start, err = strconv.ParseUint(string(f[19]), 10, 64); err != nil {
		return Stat{}, fmt.Errorf("stat: start time: %w", err)
	}
	return s, nil
}

// ParseState is the state in the text of a stat file alone, for less: a stop asks for
// that of every thread.
func ParseState(b []byte) (byte, error) {
	lo, hi := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if lo < 0 || hi < lo || len(b) < hi+4 || b[hi+1] != ' ' || b[hi+2] <= ' ' || b[hi+3] != ' ' {
		return 0, errors.New("stat: no name in parentheses and state")
	}
	return b[hi+2], nil
}

// ReadStat reads /proc/PID/task/TID/stat.
func ReadStat(pid, tid int) (s Stat, err error) {
	var arr [1024]byte
	b, err := record(unix.AT_FDCWD, taskPath(pid, tid, "stat"), arr[:0])
	if err == nil {
		s, err = ParseStat(b)
	}
	return s, explainThread("read state of thread", pid, tid, err)
}

// DumpsCore says whether the thread writes the core dump of its process.
func (s Stat) DumpsCore() bool {
	const dumpcore = 0x200 // PF_DUMPCORE
	return s.Flags&dumpcore != 0
}

// Comm is Info.Comm alone, for less: the kernel writes much into stat.
func Comm(pid int) (string, error) {
	var arr [256]byte
	b, err := record(unix.AT_FDCWD, path(pid, "comm"), arr[:0])
	if err != nil {
		return "", explain("read name", pid, err)
	}
	return string(bytes.TrimSuffix(b, []byte("\n"))), nil
}

// Syscall is what a thread is blocked in.
type Syscall struct {
	Running bool  // on a processor or about to be: nothing else is known
	Number  int64 // -1: stopped, but not in a system call
	Args    [6]uint64
	SP, PC  uint64
}

// ReadSyscall reads /proc/PID/task/TID/syscall. Nothing stops the thread from
// running on: the answer is a hint, good for planning and never for deciding.
func ReadSyscall(pid, tid int) (Syscall, error) {
	return readSyscall(unix.AT_FDCWD, taskPath(pid, tid, "syscall"), pid, tid)
}

func readSyscall(dir int, name string, pid, tid int) (s Syscall, err error) {
	var arr [512]byte
	b, err := record(dir, name, arr[:0])
	if err == nil {
		s, err = ParseSyscall(b)
	}
	return s, explainThread("read system call of thread", pid, tid, err)
}

// ParseSyscall decodes the text of a syscall file: "running", "-1 SP PC" or
// "NUMBER six arguments SP PC".
func ParseSyscall(b []byte) (Syscall, error) {
	f := bytes.Fields(b)
	if len(f) == 1 && string(f[0]) == "running" {
		return Syscall{Running: true}, nil
	}
	if len(f) != 3 && len(f) != 9 {
		return Syscall{}, fmt.Errorf("syscall: %d fields", len(f))
	}
	var s Syscall
	var err error
	if s.Number, err = strconv.ParseInt(string(f[0]), 10, 64); err != nil {
		return Syscall{}, fmt.Errorf("syscall: number: %w", err)
	}
	var v [8]uint64
	for i, x := range f[1:] {
		if v[i], err = strconv.ParseUint(string(x), 0, 64); err != nil {
			return Syscall{}, fmt.Errorf("syscall: field %d: %w", i+2, err)
		}
	}
	n := len(f) - 3
	copy(s.Args[:], v[:n])
	s.SP, s.PC = v[n], v[n+1]
	return s, nil
}

// SchedStat is how much a thread has run so far. It changes whenever the thread
// runs. All of it is 0 where the kernel does not tell.
type SchedStat struct {
	Ran, Waited time.Duration // on a processor, and for one
	Times       uint64
}

// ReadSchedStat reads /proc/PID/task/TID/schedstat (sched-stats.rst).
func ReadSchedStat(pid, tid int) (s SchedStat, err error) {
	var arr [256]byte
	b, err := record(unix.AT_FDCWD, taskPath(pid, tid, "schedstat"), arr[:0])
	if err == nil {
		s, err = ParseSchedStat(b)
	}
	return s, explainThread("read running time of thread", pid, tid, err)
}

// ParseSchedStat decodes "RAN WAITED TIMES\n".
func ParseSchedStat(b []byte) (SchedStat, error) {
	f := bytes.Fields(b)
	if len(f) != 3 {
		return SchedStat{}, fmt.Errorf("schedstat: %d fields", len(f))
	}
	var v [3]uint64
	for i, x := range f {
		var err error
		if v[i], err = strconv.ParseUint(string(x), 10, 64); err != nil {
			return SchedStat{}, fmt.Errorf("schedstat: %w", err)
		}
	}
	return SchedStat{time.Duration(v[0]), time.Duration(v[1]), v[2]}, nil
}

// Place is where in the kernel a thread sleeps, by name; "0" where the kernel does
// not tell, or the thread does not sleep.
func Place(pid, tid int) (string, error) {
	var arr [256]byte
	b, err := record(unix.AT_FDCWD, taskPath(pid, tid, "wchan"), arr[:0])
	return string(b), explainThread("read place in the kernel of thread", pid, tid, err)
}

// Namespace identifies a namespace of a process ("mnt", "pid", "user", ...): two
// processes are in the same one when the texts are equal ("mnt:[4026531841]").
func Namespace(pid int, kind string) (string, error) {
	var b [128]byte
	n, err := unix.Readlink(path(pid, "ns/"+kind), b[:])
	if err != nil {
		return "", explain("read "+kind+" namespace", pid, err)
	}
	return string(b[:n]), nil
}
