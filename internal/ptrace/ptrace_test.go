package ptrace_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/ptrace"
)

const errIntr, restartNoHand, restartBlock = ^uint64(3), ^uint64(513), ^uint64(515)

func TestStopsAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		status uint32
		want   ptrace.Stop
	}{
		"our interrupt":        {128<<16 | uint32(unix.SIGTRAP)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.Interrupted}},
		"job control":          {128<<16 | uint32(unix.SIGSTOP)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.GroupStop, Signal: unix.SIGSTOP}},
		"a signal":             {uint32(unix.SIGUSR1)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.Delivery, Signal: unix.SIGUSR1}},
		"a SIGTRAP of its own": {uint32(unix.SIGTRAP)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.Delivery, Signal: unix.SIGTRAP}},
		"a system call":        {(uint32(unix.SIGTRAP)|0x80)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.Syscall}},
		"a clone":              {uint32(unix.PTRACE_EVENT_CLONE)<<16 | uint32(unix.SIGTRAP)<<8 | 0x7f, ptrace.Stop{Kind: ptrace.Event}},
	} {
		if got := ptrace.DecodeStop(tc.status); got != tc.want {
			t.Errorf("%s: %+v, not %+v", name, got, tc.want)
		}
	}
}

func TestHideStopTouchesOnlyWhatOurStopDisturbed(t *testing.T) {
	in := func(nr, rax uint64) ptrace.Regs { return ptrace.Regs{Orig_rax: nr, Rax: rax, Rip: 100} }
	ioctl := func(request, arg uint64) ptrace.Regs {
		return ptrace.Regs{Orig_rax: unix.SYS_IOCTL, Rax: errIntr, Rsi: request, Rdx: arg, Rip: 100}
	}
	stop := ptrace.Stop{Kind: ptrace.Interrupted}
	const unknown, passes, fails = ptrace.Unknown, ptrace.Passes, ptrace.Fails
	for name, tc := range map[string]struct {
		regs    ptrace.Regs
		stop    ptrace.Stop
		want    uint64 // rax
		filters ptrace.Answer
	}{
		"epoll_wait":                    {in(unix.SYS_EPOLL_WAIT, errIntr), stop, restartNoHand, passes},
		"epoll_wait and a signal":       {in(unix.SYS_EPOLL_WAIT, errIntr), ptrace.Stop{Kind: ptrace.Delivery, Signal: unix.SIGUSR1}, restartNoHand, passes},
		"epoll_wait that returned":      {in(unix.SYS_EPOLL_WAIT, 3), stop, 3, passes},
		"user code with that rax":       {in(^uint64(0), errIntr), stop, errIntr, passes},
		"close":                         {in(unix.SYS_CLOSE, errIntr), stop, errIntr, passes},
		"clone event":                   {in(unix.SYS_EPOLL_WAIT, errIntr), ptrace.Stop{Kind: ptrace.Event}, errIntr, passes},
		"nanosleep":                     {in(unix.SYS_NANOSLEEP, restartBlock), stop, restartBlock, passes},
		"nanosleep and a filter":        {in(unix.SYS_NANOSLEEP, restartBlock), stop, restartNoHand, fails},
		"nanosleep and who knows":       {in(unix.SYS_NANOSLEEP, restartBlock), stop, restartNoHand, unknown},
		"ioctl that waits":              {ioctl(0x5607, 7), stop, restartNoHand, passes},
		"tcdrain":                       {ioctl(0x5409, 1), stop, restartNoHand, passes},
		"tcsendbreak":                   {ioctl(0x5409, 0), stop, errIntr, passes}, // the break may be sent
		"another ioctl":                 {ioctl(0x4711, 1), stop, errIntr, passes},
		"gone on with before":           {in(219, restartBlock), stop, restartBlock, passes},
		"gone on with, and a filter":    {in(219, restartBlock), stop, errIntr, fails},
		"gone on with, and who knows":   {in(219, restartBlock), stop, restartBlock, unknown},
		"gone on with, and it returned": {in(219, 0), stop, 0, fails},
		"a filter, and user code":       {in(^uint64(0), restartBlock), stop, restartBlock, fails},
		"a filter, and close":           {in(unix.SYS_CLOSE, errIntr), stop, errIntr, fails},
	} {
		r := tc.regs
		if changed := ptrace.HideStop(&r, tc.stop, tc.filters); changed != (tc.want != tc.regs.Rax) {
			t.Errorf("%s: changed is %v", name, changed)
		}
		if r.Rax != tc.want || r.Rip != 100 || r.Orig_rax != tc.regs.Orig_rax {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestUserResumeIssuesAnInterruptedCallAgain(t *testing.T) {
	for name, tc := range map[string]struct{ rax, wantRax, wantRip uint64 }{
		"restart":            {^uint64(511), unix.SYS_READ, 98},
		"restart no handler": {restartNoHand, unix.SYS_READ, 98},
		"restart block":      {^uint64(515), 219, 98},
		"interrupted":        {errIntr, unix.SYS_READ, 98},
		"done":               {5, 5, 100},
	} {
		r := ptrace.UserResume(ptrace.Regs{Orig_rax: unix.SYS_READ, Rax: tc.rax, Rip: 100})
		if r.Rax != tc.wantRax || r.Rip != tc.wantRip || r.Orig_rax != ^uint64(0) {
			t.Errorf("%s: rax %d rip %d", name, int64(r.Rax), r.Rip)
		}
	}
}

func TestStubFitsAndIsKnown(t *testing.T) {
	all := [6]uint64{^uint64(0), ^uint64(1), ^uint64(2), ^uint64(3), ^uint64(4), ^uint64(5)}
	b := ptrace.Stub(0x1000, []ptrace.Call{{NR: 9, Args: all}, {NR: 11, Args: all}}, 7, ptrace.Regs{Rip: 0x4711})
	if len(b) != ptrace.StubRoom || !ptrace.IsStub(b) {
		t.Fatalf("stub has %d bytes", len(b))
	}
	if ptrace.IsStub(make([]byte, ptrace.StubRoom)) {
		t.Error("padding taken for a stub")
	}
	if b := ptrace.Stub(0, make([]ptrace.Call, 12), 0, ptrace.Regs{}); b != nil {
		t.Error("twelve calls fit?")
	}
}

// sleeper starts a process that is not our child: see the package txn for why.
func sleeper(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("setsid", "--fork", "sh", "-c", "echo $$; exec sleep 60 >/dev/null 2>&1").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	for range 200 { // until it sleeps
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		c, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if bytes.Contains(b, []byte(") S ")) && string(c) == "sleep\n" {
			return pid
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("sleep does not sleep")
	return 0
}

// borrowing is ptrace.Run, again while a busy host keeps the thread from stopping
// in time.
func borrowing(fn func(*ptrace.Tracer) error) (err error) {
	for range 100 {
		if err = ptrace.Run(fn); !errors.Is(err, ptrace.ErrBorrow) {
			break
		}
	}
	return err
}

// TestStopAllBelievesOnlyACountThatAgrees with what it has seized and stopped:
// everything else leads to a listing.
func TestStopAllBelievesOnlyACountThatAgrees(t *testing.T) {
	pid := sleeper(t)
	for name, tc := range map[string]struct {
		counts []int // what the counter says, one after the other
		listed int   // how often StopAll has to list the threads
	}{
		"agrees":          {[]int{1, 1}, 0},
		"never agreed":    {[]int{0, 1}, 1},
		"does not now":    {[]int{1, 2}, 1},
		"fewer than seen": {[]int{1, 0}, 1},
	} {
		// Where a thread takes long to stop, as on a busy host, all are listed for
		// another reason, too: whether any has ended.
		var listed int
		var err error
		for try := 0; try < 20 && (try == 0 || err == nil && listed > tc.listed); try++ {
			counted := 0
			err = ptrace.Run(func(tr *ptrace.Tracer) error {
				self := unix.Gettid()
				g, err := tr.Seize(func() ([]int, error) {
					if unix.Gettid() == self { // the others look for what has ended
						listed++
					}
					return []int{pid}, nil
				})
				defer g.Release()
				if err != nil {
					return err
				}
				g.CountWith(func() (int, error) { counted++; return tc.counts[counted-1], nil })
				listed = 0
				_, err = g.StopAll(time.Now().Add(time.Second))
				return err
			})
		}
		if err != nil || listed != tc.listed {
			t.Errorf("%s: %d listings, not %d; %v", name, listed, tc.listed, err)
		}
	}
}

// TestSignalThatEndsASeizeDisturbsNothingElse: it may come too late, at anything
// that a tracer does.
func TestSignalThatEndsASeizeDisturbsNothingElse(t *testing.T) {
	if err := ptrace.HandleGiveUp(); err != nil {
		t.Fatal(err)
	}
	pid := sleeper(t)
	mem, err := ptrace.OpenMem(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	room := padding(t, pid, mem)
	list := func() ([]int, error) { return []int{pid}, nil }
	for range 200 {
		err := ptrace.Run(func(tr *ptrace.Tracer) error {
			self, over, ended := unix.Gettid(), make(chan struct{}), make(chan struct{})
			defer func() { close(over); <-ended }()
			go func() {
				defer close(ended)
				for {
					select {
					case <-over:
						return
					case <-time.After(10 * time.Microsecond):
						_ = unix.Tgkill(os.Getpid(), self, ptrace.GiveUpSignal)
					}
				}
			}()
			got, err := tr.Inject(mem, ptrace.Injection{TID: pid, Room: room, Calls: []ptrace.Call{{NR: unix.SYS_GETPID}}})
			if err == nil && got[0] != uint64(pid) {
				t.Errorf("the call returned %v", got)
			}
			if err != nil && !errors.Is(err, ptrace.ErrBorrow) {
				return err
			}
			g, err := tr.Seize(list)
			defer g.Release()
			if err != nil {
				return err
			}
			_, err = g.StopAll(time.Now().Add(time.Second))
			return err
		})
		if err != nil && !errors.Is(err, ptrace.ErrStarting) {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !bytes.Contains(b, []byte("TracerPid:\t0\n")) {
		t.Errorf("it is still traced (%v):\n%s", err, b)
	}
}

// TestRegistersAreReadWhereverTheStackGrows: the runtime moves a goroutine's stack to a
// larger one when a call finds no room on it, which may be the one that asks the kernel.
// That a thread is not in uninterruptible sleep must not follow from a file that could
// not be opened.
func TestStateThatCannotBeReadIsAnError(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	self := os.Getpid()
	if s, err := ptrace.StateOf(self); s == 0 || err != nil {
		t.Errorf("%c, %v", s, err)
	}
	if s, err := ptrace.StateOf(1 << 30); s != 0 || err != nil {
		t.Errorf("of one that is not there: %c, %v", s, err)
	}
	_, err := func() (byte, error) {
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max})
		return ptrace.StateOf(self)
	}()
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("without means: %v", err)
	}
}

func TestRegistersAreReadWhereverTheStackGrows(t *testing.T) {
	pid := sleeper(t)
	for depth := range 300 {
		err := borrowing(func(tr *ptrace.Tracer) error {
			r, err := tr.RegsFrom(depth, pid)
			if err == nil && r.Rip == 0 {
				t.Errorf("%d calls deep nothing was read", depth)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoWritesACoreDumpIsLetGoWithoutAStop, as who could not stop. A dump into a pipe
// would end where its thread is interrupted.
func TestWhoWritesACoreDumpIsLetGoWithoutAStop(t *testing.T) {
	for status, want := range map[string]bool{
		"State:\tS (sleeping)\nCoreDumping:\t0\n":   false,
		"State:\tS (sleeping)\nCoreDumping:\t1\n":   true,
		"State:\tR (running)\n":                     false, // before Linux 4.15
		"State:\tD (disk sleep)\nCoreDumping:\t0\n": true,
	} {
		if got := ptrace.NotToBeAsked(status); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}

// TestNobodyListsThreadsBehindOurBack: what takes note of ended threads while we
// wait lists them, too. When that is over the listing may be closed, and its file
// descriptor be another file's.
func TestNobodyListsThreadsBehindOurBack(t *testing.T) {
	pid := sleeper(t)
	var calls, under atomic.Int32
	list := func() ([]int, error) {
		under.Add(1)
		defer under.Add(-1)
		calls.Add(1)
		time.Sleep(5 * time.Millisecond) // long enough for others to wait in a row
		return []int{pid}, nil
	}
	err := ptrace.Run(func(tr *ptrace.Tracer) error {
		g, err := tr.Seize(list)
		if n := under.Load(); n != 0 {
			t.Errorf("after %d listings %d is under way", calls.Load(), n)
		}
		g.Release()
		if n := under.Load(); n != 0 {
			t.Errorf("released, and after %d listings %d is under way", calls.Load(), n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestInjectMakesCallsAndGivesTheThreadBack(t *testing.T) {
	pid := sleeper(t)
	mem, err := ptrace.OpenMem(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	room := padding(t, pid, mem)
	var results []uint64
	err = borrowing(func(tr *ptrace.Tracer) (err error) {
		results, err = tr.Inject(mem, ptrace.Injection{TID: pid, Room: room, Calls: []ptrace.Call{
			{NR: unix.SYS_GETPID},
			{NR: unix.SYS_MMAP, Args: [6]uint64{0x200000000, 8192, 1, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0}},
			{NR: unix.SYS_CLOSE, Args: [6]uint64{999}},
			{NR: unix.SYS_GETPPID},
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 || results[0] != uint64(pid) || results[1] != 0x200000000 || results[2] != ^uint64(8) {
		t.Errorf("results %x: want pid, address, -EBADF and no fourth call", results)
	}
	b := make([]byte, ptrace.StubRoom)
	if _, err := mem.ReadAt(b, int64(room)); err != nil || !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("the stub was not cleared (%v)", err)
	}
	var status []byte
	for range 100 { // it goes on by itself
		status, _ = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if bytes.Contains(status, []byte("State:\tS")) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if !bytes.Contains(status, []byte("TracerPid:\t0\n")) || !bytes.Contains(status, []byte("State:\tS")) {
		t.Errorf("not as before:\n%s", status)
	}
	if !bytes.Contains(status, []byte("SigBlk:\t0000000000000000\n")) {
		t.Errorf("signals stay blocked:\n%s", status)
	}
}

// TestThreadThatStaysInABorrowedCallFinishesTheStubAlone: its bytes must not be
// cleared under it.
func TestThreadThatStaysInABorrowedCallFinishesTheStubAlone(t *testing.T) {
	pid := sleeper(t)
	mem, err := ptrace.OpenMem(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	room := padding(t, pid, mem)
	err = borrowing(func(tr *ptrace.Tracer) error {
		_, err := tr.Inject(mem, ptrace.Injection{TID: pid, Room: room, Calls: []ptrace.Call{
			{NR: unix.SYS_POLL, Args: [6]uint64{0, 0, 4000}}, // longer by far than a loan may last
		}})
		return err
	})
	if !errors.Is(err, ptrace.ErrTimeout) {
		t.Fatalf("error %v", err)
	}
	b := make([]byte, ptrace.StubRoom)
	if _, err := mem.ReadAt(b, int64(room)); err != nil || !ptrace.IsStub(b) {
		t.Errorf("the stub was cleared under the thread (%v)", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nr, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		if err != nil {
			t.Fatalf("the process ended: %v", err)
		}
		// sleep(1) is in clock_nanosleep, or in restart_syscall when it was woken.
		if f := strings.Fields(string(nr)); len(f) > 0 && (f[0] == "230" || f[0] == "219" || f[0] == "35") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not go on with its own work: %s", nr)
		}
	}
}

// TestStubThatIsGoneIsNotWrittenOver: while a thread stands by for another call,
// others may unload the image that its stub is in, and map something else there.
func TestStubThatIsGoneIsNotWrittenOver(t *testing.T) {
	pid := sleeper(t)
	mem, err := ptrace.OpenMem(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	room := padding(t, pid, mem)
	others := bytes.Repeat([]byte{0x90}, ptrace.StubRoom)
	call := []ptrace.Call{{NR: unix.SYS_GETPID}}
	for _, twice := range []bool{true, false} {
		err = borrowing(func(tr *ptrace.Tracer) error {
			l, err := tr.Lend(mem, ptrace.Injection{TID: pid, Room: room})
			if err != nil {
				return err
			}
			if got, err := l.Make(call, nil); err != nil || got[0] != uint64(pid) {
				t.Errorf("the call returned %v, %v", got, err)
			}
			if _, err := mem.WriteAt(others, int64(room)); err != nil {
				t.Error(err)
			}
			if twice {
				if _, err := l.Make(call, nil); !errors.Is(err, ptrace.ErrRoom) {
					t.Errorf("the second call: %v", err)
				}
			}
			return l.End()
		})
		if err != nil {
			t.Fatal(err)
		}
		now := make([]byte, len(others))
		if _, err := mem.ReadAt(now, int64(room)); err != nil || !bytes.Equal(now, others) {
			t.Errorf("what others have there is % x now, %v", now, err)
		}
		if _, err := mem.WriteAt(make([]byte, len(others)), int64(room)); err != nil {
			t.Fatal(err)
		}
	}
}

// padding finds zero bytes at the end of the code of some image.
func padding(t *testing.T, pid int, mem *ptrace.Mem) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		var lo, hi uint64
		var perm string
		if n, _ := fmt.Sscanf(l, "%x-%x %s", &lo, &hi, &perm); n != 3 || perm != "r-xp" || !strings.Contains(l, "/") {
			continue
		}
		room := make([]byte, ptrace.StubRoom)
		if _, err := mem.ReadAt(room, int64(hi)-ptrace.StubRoom); err == nil && bytes.Equal(room, make([]byte, len(room))) {
			return hi - ptrace.StubRoom
		}
	}
	t.Fatal("no padding behind any code")
	return 0
}

func TestOpenMemOfAProcessThatIsNotThere(t *testing.T) {
	if _, err := ptrace.OpenMem(1 << 22); !errors.Is(err, ptrace.ErrGone) {
		t.Errorf("error %v", err)
	}
}

func TestMemFailsOnUnmappedMemory(t *testing.T) {
	mem, err := ptrace.OpenMem(os.Getpid())
	if err != nil {
		t.Skip("may not open our own memory for writing")
	}
	defer mem.Close()
	var b [8]byte
	if _, err := mem.ReadAt(b[:], 16); err == nil {
		t.Error("read of page zero succeeded")
	}
	if _, err := mem.WriteAt(b[:], 16); err == nil {
		t.Error("write to page zero succeeded")
	}
}
