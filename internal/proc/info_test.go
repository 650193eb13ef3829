package proc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/proc"
	"hotpatch/internal/testkit"
)

func TestParseStatFindsTheEndOfTheName(t *testing.T) {
	tail := " 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n"
	for _, name := range []string{"redis-server", "a b", "a) R 1 (b", ")", "(", "", "x\ny"} {
		s, err := proc.ParseStat([]byte("812 (" + name + ") S 1" + tail))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want := proc.Stat{Comm: name, State: 'S', PPID: 1, Flags: 4194560, Start: 987654}
		if s != want {
			t.Errorf("got %+v, want %+v", s, want)
		}
		if state, err := proc.ParseState([]byte("812 (" + name + ") S 1" + tail)); err != nil || state != 'S' {
			t.Errorf("state %q, %v", state, err)
		}
	}
	for _, bad := range []string{"", "1", "1 (x", "1 x)", "1 (x) S", ")(", "1 (x) SS 1" + tail, "1 (x) S y" + tail} {
		if s, err := proc.ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, s)
		}
	}
	for _, bad := range []string{"", "1", "1 (x", "1 x)", "1 (x)", "1 (x) S", ")(", "1 (x) SS 1", "1 (x)  S 1"} {
		if s, err := proc.ParseState([]byte(bad)); err == nil {
			t.Errorf("%q: got %q", bad, s)
		}
	}
}

func TestParseSyscall(t *testing.T) {
	for in, want := range map[string]proc.Syscall{
		"running\n":          {Running: true},
		"-1 0x7ffe 0x4010\n": {Number: -1, SP: 0x7ffe, PC: 0x4010},
		"0 0x3 0x7f 0x20 0x1 0xffffffff 0x0 0x7fff88 0x7f83ad\n": {
			Args: [6]uint64{3, 0x7f, 0x20, 1, 0xffffffff, 0}, SP: 0x7fff88, PC: 0x7f83ad},
	} {
		if got, err := proc.ParseSyscall([]byte(in)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "1 2", "x 0x1 0x2", "0 1 2 3 4 5 6 7 z", "running 1"} {
		if got, err := proc.ParseSyscall([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
}

func TestParseSchedStat(t *testing.T) {
	want := proc.SchedStat{Ran: 21722, Waited: 37708, Times: 3}
	if got, err := proc.ParseSchedStat([]byte("21722 37708 3\n")); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := proc.ParseSchedStat([]byte("0 0 0\n")); err != nil || got != (proc.SchedStat{}) {
		t.Errorf("of a kernel that does not tell: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 2", "1 2 3 4", "1 x 3", "-1 2 3"} {
		if got, err := proc.ParseSchedStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
}

// A short file of a process is read without asking for its end. What is longer than
// the room for it is read all the same.
func TestRecordIsReadWhateverItsLength(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1000)
	name := t.TempDir() + "/record"
	for _, n := range []int{0, 1, 127, 128, 129, 255, 256, 4095, 4096, 4097, len(long)} {
		if err := os.WriteFile(name, []byte(long[:n]), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{0, 1, 128, 256, 4096} {
			if got, err := proc.Record(name, make([]byte, 0, room)); err != nil || string(got) != long[:n] {
				t.Errorf("%d bytes in room for %d: got %d, %v", n, room, len(got), err)
			}
		}
	}
}

// So it is with files of processes, of which the kernel writes some twice to know how
// long they are. The longest has the groups.
func TestRecordOfAProcessIsWhole(t *testing.T) {
	testkit.Need(t, root(), "root, to change groups")
	many := make([]uint32, 20000)
	for i := range many {
		many[i] = uint32(100_000 + i)
	}
	v := startWith(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: many}}, victim(t), "name", "a) b")
	if err := v.Process.Signal(syscall.SIGSTOP); err != nil { // that nothing in them changes
		t.Fatal(err)
	}
	for range 5000 {
		if s, err := proc.ThreadState(v.Process.Pid, v.Process.Pid); err == nil && s == 'T' {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ours := regexp.MustCompile(`(?m)^SigQ:.*$`) // of all processes of the user
	for _, name := range []string{"status", "stat", "limits", "cgroup", "auxv", "comm", "syscall", "schedstat", "wchan"} {
		name = fmt.Sprintf("/proc/%d/task/%d/%s", v.Process.Pid, v.Process.Pid, name)
		if strings.HasSuffix(name, "auxv") {
			name = fmt.Sprintf("/proc/%d/auxv", v.Process.Pid)
		}
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		whole = ours.ReplaceAll(whole, nil)
		for _, room := range []int{0, 128, 129, len(whole) - 1, len(whole), len(whole) + 1, len(whole) + 128, 1024, 4096, 1 << 20} {
			if got, err := proc.Record(name, make([]byte, 0, max(room, 0))); err != nil || !bytes.Equal(ours.ReplaceAll(got, nil), whole) {
				t.Errorf("%s in room for %d: %d bytes, not %d, %v", name, room, len(got), len(whole), err)
			}
		}
	}
	if r, err := proc.ReadRights(v.Process.Pid, v.Process.Pid); err != nil || r.Size == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if i, err := proc.Read(v.Process.Pid); err != nil || i.Live != v.Process.Pid {
		t.Errorf("%+v, %v", i, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("812 (a) b) S 1 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n"))
	f.Add([]byte("0 0x3 0x7f 0x20 0x1 0xffffffff 0x0 0x7fff88 0x7f83ad\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := proc.ParseStat(b); err == nil && !strings.Contains(string(b), "("+s.Comm+")") {
			t.Errorf("name %q is not in %q", s.Comm, b)
		}
		s, err := proc.ParseStat(b)
		if state, serr := proc.ParseState(b); err == nil && serr == nil && state != s.State {
			t.Errorf("state %q, not %q, in %q", state, s.State, b)
		}
		_, _ = proc.ParseSyscall(b)
		_, _ = proc.ParseSchedStat(b)
	})
}

func TestReadThisProcess(t *testing.T) {
	i, err := proc.Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if i.PID != os.Getpid() || i.PPID != os.Getppid() || i.UID != os.Geteuid() || i.Live != i.PID || i.Kernel || i.Start == 0 {
		t.Errorf("got %+v", i)
	}
}

func TestReadNameWithSpacesParenthesesAndNewline(t *testing.T) {
	const name = "a) R 1\n (b"
	c := start(t, victim(t), "name", name)
	i, err := proc.Read(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if i.Comm != name || i.PPID != os.Getpid() || i.State != 'S' && i.State != 'R' {
		t.Errorf("got %+v", i)
	}
	if comm, err := proc.Comm(c.Process.Pid); err != nil || comm != name {
		t.Errorf("name %q alone, error %v", comm, err)
	}
}

func TestReadFindsALiveThreadOfAZombieLeader(t *testing.T) {
	exe := victim(t)
	c := start(t, exe, "zombie")
	pid := c.Process.Pid
	i, err := proc.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	if i.State != 'Z' || i.Live == 0 || i.Live == pid {
		t.Fatalf("got %+v", i)
	}
	if s, err := proc.ThreadState(pid, i.Live); err != nil || s != 'S' && s != 'R' {
		t.Errorf("state of the live thread: %c, %v", s, err)
	}
	ms, err := proc.Modules(pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(ms) == 0 || ms[0].Path != exe {
		t.Errorf("modules: %v", ms)
	}
	r, _, cl, err := proc.Open(pid, ms[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if b := make([]byte, 4); mustRead(t, r, b) != "\x7fELF" {
		t.Errorf("opened %q", b)
	}
	found, _, err := proc.Mapping([]string{testkit.BuildID(t, exe)})
	if err != nil || !slices.Contains(found, pid) {
		t.Errorf("Mapping found %v, %v", found, err)
	}
}

func TestReadSaysThatAThreadIsNoProcess(t *testing.T) {
	c := start(t, victim(t), "threads", "1")
	tids, err := proc.Threads(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	i, err := proc.Read(tids[1])
	if err == nil || !strings.Contains(err.Error(), "thread of process "+strconv.Itoa(c.Process.Pid)) {
		t.Errorf("got %+v, %v", i, err)
	}
	if ms, err := proc.Maps(tids[1]); err != nil || len(ms) == 0 {
		t.Errorf("maps by thread id: %v, %v", ms, err)
	}
}

func TestDeadProcesses(t *testing.T) {
	c := exec.Command("true")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	// Not waited for yet: a zombie.
	for range 1000 {
		if s, err := proc.ThreadState(pid, pid); err != nil || s == 'Z' {
			break
		}
		time.Sleep(time.Millisecond)
	}
	i, err := proc.Read(pid)
	if err != nil || i.State != 'Z' || i.Live != 0 {
		t.Errorf("zombie: %+v, %v", i, err)
	}
	if ms, err := proc.Modules(pid); err != nil || len(ms) != 0 {
		t.Errorf("modules of a zombie: %v, %v", ms, err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func() error{
		"Read":        func() error { _, err := proc.Read(pid); return err },
		"Maps":        func() error { _, err := proc.Maps(pid); return err },
		"Modules":     func() error { _, err := proc.Modules(pid); return err },
		"Threads":     func() error { _, err := proc.Threads(pid); return err },
		"ThreadState": func() error { _, err := proc.ThreadState(pid, pid); return err },
		"OpenMem":     func() error { _, err := proc.OpenMem(pid); return err },
		"Namespace":   func() error { _, err := proc.Namespace(pid, "mnt"); return err },
	} {
		if err := f(); !errors.Is(err, proc.ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMemoryOfADeadProcessIsGone(t *testing.T) {
	c := start(t, victim(t))
	mem, err := proc.OpenMem(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	tasks, err := proc.OpenTasks(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer tasks.Close()
	b := make([]byte, 16)
	if _, err := mem.ReadAt(b, int64(c.main)); err != nil {
		t.Fatal(err)
	}
	if tids, err := tasks.List(nil); err != nil || len(tids) != 1 {
		t.Errorf("threads: %v, %v", tids, err)
	}
	c.Process.Kill()
	c.Wait()
	if _, err := mem.ReadAt(b, int64(c.main)); !errors.Is(err, proc.ErrGone) {
		t.Errorf("read: %v", err)
	}
	if tids, err := tasks.List(nil); !errors.Is(err, proc.ErrGone) {
		t.Errorf("threads: %v, %v", tids, err)
	}
}

func TestMemoryReadsAllOrFails(t *testing.T) {
	c := start(t, victim(t))
	ms, err := proc.Maps(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := proc.OpenMem(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var last proc.Map // one with a hole after it
	for i, m := range ms[:len(ms)-1] {
		if m.Read && ms[i+1].Start != m.End {
			last = m
			break
		}
	}
	b := make([]byte, 16)
	if n, err := mem.ReadAt(b, int64(last.End-8)); n != 8 || err == nil {
		t.Errorf("across the end of %v: %d, %v", last, n, err)
	}
	if n, err := mem.ReadAt(b, 0); n != 0 || err == nil {
		t.Errorf("at 0: %d, %v", n, err)
	}
	if n, err := mem.ReadAt(b, -4096); n != 0 || err == nil {
		t.Errorf("at the end of the address space: %d, %v", n, err)
	}
}

// TestThreadsListsAll: also where the kernel hands them out in more than one piece.
func TestThreadsListsAll(t *testing.T) {
	c := start(t, victim(t), "threads", "600")
	tids, err := proc.Threads(c.Process.Pid)
	if err != nil || len(tids) != 601 || tids[0] != c.Process.Pid {
		t.Fatalf("got %v, %v", tids, err)
	}
	for _, tid := range tids[1:] {
		if s, err := proc.ThreadState(c.Process.Pid, tid); err != nil || s != 'S' && s != 'R' {
			t.Errorf("thread %d: %c, %v", tid, s, err)
		}
	}
	tasks, err := proc.OpenTasks(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer tasks.Close()
	if n, err := tasks.Count(); err != nil || n != len(tids) {
		t.Errorf("%d threads, %v, and not %d as listed", n, err, len(tids))
	}
	if !root() {
		return // reading what a thread waits for may want privilege
	}
	s, err := proc.ReadSyscall(c.Process.Pid, tids[0])
	for n := 0; err == nil && s.Running && n < 1000; n++ { // on its way to sleep
		time.Sleep(time.Millisecond)
		s, err = proc.ReadSyscall(c.Process.Pid, tids[0])
	}
	if err != nil || s.Running || s.Number != syscall.SYS_READ || s.PC == 0 || s.SP == 0 {
		t.Errorf("system call of the leader: %+v, %v", s, err)
	}
}

func TestPIDsHasUsAndKernelThreadsAreKnown(t *testing.T) {
	pids, err := proc.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(pids) || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("got %v", pids)
	}
	const kthreadd = 2
	if i, err := proc.Read(kthreadd); err != nil || i.Comm != "kthreadd" {
		t.Skip("in a pid namespace: no kernel threads to look at")
	} else if !i.Kernel {
		t.Errorf("got %+v", i)
	}
	if ms, err := proc.Modules(kthreadd); err != nil || len(ms) != 0 {
		t.Errorf("modules of a kernel thread: %v, %v", ms, err)
	}
}

func TestNamespaceOfAChildIsOurs(t *testing.T) {
	c := start(t, victim(t))
	for _, kind := range []string{"mnt", "pid", "user"} {
		a, err := proc.Namespace(os.Getpid(), kind)
		if err != nil || !strings.HasPrefix(a, kind+":[") {
			t.Fatal(a, err)
		}
		if b, err := proc.Namespace(c.Process.Pid, kind); err != nil || a != b {
			t.Errorf("%s: %s and %s, %v", kind, a, b, err)
		}
	}
}

// TestDeniedChild is the half of TestOtherUsersProcessIsDenied that runs as an
// ordinary user.
func TestDeniedChild(t *testing.T) {
	var pids []int
	for _, s := range strings.Fields(os.Getenv("PROC_TEST_PIDS")) {
		pids = append(pids, atoi(t, s))
	}
	if len(pids) == 0 {
		t.Skip("runs only as a child of TestOtherUsersProcessIsDenied")
	}
	_, denied, err := proc.Mapping([]string{"00"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		_, err := proc.Modules(pid)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "belongs to user 0 and we are user 65534") {
			t.Errorf("Modules: %v", err)
		}
		if !errors.Is(denied[pid], fs.ErrPermission) {
			t.Errorf("Mapping: denied %v", denied)
		}
		if i, err := proc.Read(pid); err != nil || i.UID != 0 {
			t.Errorf("Read: %+v, %v", i, err)
		}
	}
}

func TestOtherUsersProcessIsDenied(t *testing.T) {
	if !root() {
		t.Skip("needs root to become another user")
	}
	exe := filepath.Join(openDir(t), "victim")
	compile(t, "victim.c", exe, "-pthread", "-ldl")
	a, b := start(t, exe), start(t, exe, "threads", "1")
	out := asNobody(t, "TestDeniedChild", "PROC_TEST_PIDS="+strconv.Itoa(a.Process.Pid)+" "+strconv.Itoa(b.Process.Pid))
	if !strings.Contains(out, "--- PASS: TestDeniedChild") {
		t.Error(out)
	}
}
