package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// trial is what became of doing to a patient what apply does to a process. The
// steps that need one that failed are not tried.
type trial struct {
	steps []step
}

// step is one of them: an error with what it means, or what was done.
type step struct {
	check string
	did   string
	err   error
}

// operate tries everything on a patient that is started for it. Nothing is
// changed: bytes are written that are there already, and a mapping is made and
// taken back.
func operate(ctx context.Context, h proc.Host, r proc.Rights) trial {
	var t trial
	p, err := admit(ctx)
	if err != nil {
		t.failed("try-start", err)
		return t
	}
	defer p.dismiss()
	mem, err := ptrace.OpenMem(p.pid)
	if err != nil {
		t.failed("try-open", err)
		return t
	}
	defer mem.Close()
	t.did("try-open", "opened the memory of a process for writing")

	text, err := textOf(p.pid)
	if err != nil {
		t.failed("try-write", err)
		return t
	}
	_, end := text.Code()
	if err := rewrite(mem, end-ptrace.StubRoom, ptrace.StubRoom); err != nil {
		t.failed("try-write", err)
		return t
	}
	t.did("try-write", "wrote to its code")
	if p.room == 0 {
		t.failed("try-map", errors.New("the process could not map any itself"))
		return t
	}
	t.loan(p, mem)
	t.halt(p)
	t.sandbox(p, mem)
	if err := proc.MapFiles(p.pid, text); err != nil {
		t.failed("try-files", err)
	} else {
		t.did("try-files", "opened a file through its mapping")
	}
	if _, err := ptrace.SharesMemory(p.pid, p.pid); err != nil {
		t.failed("try-kcmp", err)
	} else {
		t.did("try-kcmp", "compared address spaces (kcmp)")
	}
	if err := p.well(); err != nil {
		t.failed("try-after", fmt.Errorf("the process does not go on: %w", err))
	} else {
		t.did("try-after", "the process went on as if nothing had been")
	}
	return t
}

func (t *trial) did(check, format string, args ...any) {
	t.steps = append(t.steps, step{check, fmt.Sprintf(format, args...), nil})
}

func (t *trial) failed(check string, err error) { t.steps = append(t.steps, step{check, "", err}) }

// textOf is the patient's own image.
func textOf(pid int) (proc.Module, error) {
	ms, err := proc.Modules(pid)
	if err != nil {
		return proc.Module{}, err
	}
	for _, m := range ms {
		if lo, hi := m.Code(); m.Path != "[vdso]" && hi-lo > ptrace.StubRoom {
			return m, nil
		}
	}
	return proc.Module{}, errors.New("it maps no image")
}

// rewrite writes what is there already, so that the kernel makes a private copy
// of the page, and reads it back.
func rewrite(mem *ptrace.Mem, addr uint64, n int) error {
	was, now := make([]byte, n), make([]byte, n)
	if _, err := mem.ReadAt(was, int64(addr)); err != nil {
		return err
	}
	if _, err := mem.WriteAt(was, int64(addr)); err != nil {
		return err
	}
	if _, err := mem.ReadAt(now, int64(addr)); err != nil {
		return err
	}
	if !bytes.Equal(was, now) {
		return errors.New("it does not hold what was written")
	}
	return nil
}

// loan borrows the waiting thread to make a system call, then to make a mapping
// as apply does, which is filled and taken back.
func (t *trial) loan(p *patient, mem *ptrace.Mem) {
	got, err := call(p.tid, mem, p.room, ptrace.Call{NR: unix.SYS_GETPID})
	if err == nil && got[0] != uint64(p.pid) {
		err = fmt.Errorf("getpid returned %d in process %d", int64(got[0]), p.pid)
	}
	if err != nil {
		t.failed("try-borrow", err)
		return
	}
	t.did("try-borrow", "borrowed one of its threads for a system call")

	const size, prot = 2 << 12, unix.PROT_READ | unix.PROT_EXEC
	const flags, noFD = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE, ^uint64(0)
	mapAt := func(at, extra uint64) ptrace.Call {
		return ptrace.Call{NR: unix.SYS_MMAP, Args: [6]uint64{at, size, prot, flags | extra, noFD, 0}}
	}
	unmap := func(at uint64) ptrace.Call {
		return ptrace.Call{NR: unix.SYS_MUNMAP, Args: [6]uint64{at, size}}
	}
	got, err = call(p.tid, mem, p.room, mapAt(0, 0))
	if err != nil {
		t.failed("try-map", err)
		return
	}
	at := got[0]
	err = rewrite(mem, at, size)
	again, rerr := call(p.tid, mem, p.room, unmap(at), mapAt(at, unix.MAP_FIXED_NOREPLACE), unmap(at))
	if err = errors.Join(err, rerr); err == nil && again[1] != at {
		err = fmt.Errorf("the kernel chose %#x instead of %#x for MAP_FIXED_NOREPLACE", again[1], at)
	}
	if err != nil {
		t.failed("try-map", err)
	} else {
		t.did("try-map", "mapped executable memory, filled it and took it back")
	}
}

// call makes system calls in the patient. One that fails is an error.
func call(tid int, mem *ptrace.Mem, room uint64, calls ...ptrace.Call) ([]uint64, error) {
	var got []uint64
	for until := time.Now().Add(patience); ; {
		err := ptrace.Run(func(tr *ptrace.Tracer) (err error) {
			got, err = tr.Inject(mem, ptrace.Injection{TID: tid, Room: room, Calls: calls})
			return err
		})
		if errors.Is(err, ptrace.ErrBorrow) && time.Now().Before(until) {
			continue // a signal of its runtime was on the way
		}
		if err != nil {
			return nil, err
		}
		break
	}
	for i, v := range got {
		if v > ^uint64(4095) {
			return nil, fmt.Errorf("system call %d: %w", calls[i].NR, unix.Errno(-v))
		}
	}
	if len(got) != len(calls) {
		return nil, fmt.Errorf("%d of %d system calls were made", len(got), len(calls))
	}
	return got, nil
}

// halt stops all threads and lets them go.
func (t *trial) halt(p *patient) {
	threads, begin := 0, time.Now()
	var took time.Duration
	err := ptrace.Run(func(tr *ptrace.Tracer) error {
		g, err := tr.Seize(func() ([]int, error) { return proc.Threads(p.pid) })
		defer g.Release()
		if err != nil {
			return err
		}
		begin = time.Now()
		stopped, err := g.StopAll(begin.Add(time.Second))
		threads = len(stopped)
		took = time.Since(begin)
		return err
	})
	if err != nil {
		t.failed("try-stop", err)
		return
	}
	t.did("try-stop", "stopped its %s within %.2f ms and let them go", count(threads, "thread"), float64(took.Microseconds())/1000)
}

// sandbox borrows the thread that runs under a seccomp filter.
func (t *trial) sandbox(p *patient, mem *ptrace.Mem) {
	if p.sandboxed == 0 {
		t.did("try-sandbox", "not tried: no seccomp filter could be made")
		return
	}
	if _, err := call(p.sandboxed, mem, p.room, ptrace.Call{NR: unix.SYS_GETPID}); err != nil {
		t.failed("try-sandbox", err)
		return
	}
	t.did("try-sandbox", "borrowed a thread under a seccomp filter")
}

// findings says what the outcome of each step means.
func (t trial) findings(h proc.Host, r proc.Rights) []finding {
	var fs []finding
	for _, s := range t.steps {
		if s.err == nil {
			fs = append(fs, fine(s.check, "%s", s.did))
			continue
		}
		fs = append(fs, s.meaning(h, r))
	}
	return fs
}

func (s step) meaning(h proc.Host, r proc.Rights) finding {
	denied := errors.Is(s.err, ptrace.ErrDenied) || errors.Is(s.err, unix.EPERM) || errors.Is(s.err, unix.EACCES)
	switch s.check {
	case "try-start":
		return problem(s.check, fmt.Sprintf("a process to try things on could not be started: %v", s.err), "hotpatch must be able to run /proc/self/exe: is there a limit on processes?")
	case "try-open":
		return problem(s.check, fmt.Sprintf("a process of our own cannot be opened for writing: %v", s.err), deniedBy(h, r))
	case "try-write":
		return problem(s.check, fmt.Sprintf("the kernel lets nobody write code through /proc/PID/mem: %v", s.err),
			"boot with proc_mem.force_override=always (CONFIG_PROC_MEM_ALWAYS_FORCE); a sandbox such as gVisor cannot do it at all")
	case "try-borrow":
		if errors.Is(s.err, ptrace.ErrSeccomp) && r.Seccomp != 0 {
			return warn(s.check, "not tried: what hotpatch starts inherits its seccomp filter", "see seccomp above")
		}
	case "try-map":
		return problem(s.check, fmt.Sprintf("no executable memory could be mapped and filled: %v", s.err), "look for denied { execmem } in the audit log (SELinux)")
	case "try-sandbox":
		return warn(s.check, fmt.Sprintf("processes under a seccomp filter are refused: %v", s.err), "run it as root (CAP_SYS_ADMIN), outside of any sandbox, on a kernel with CONFIG_CHECKPOINT_RESTORE")
	case "try-files":
		return warn(s.check, fmt.Sprintf("files that were replaced on disk while they are mapped cannot be read, and stacks through them not be checked: %v", s.err),
			"run it as root (CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN)")
	case "try-kcmp":
		return warn(s.check, fmt.Sprintf("processes that share their memory (vfork) are not told: %v", s.err), "use a kernel with kcmp (CONFIG_KCMP); the stop of all threads notices them, too")
	case "try-after":
		return problem(s.check, s.err.Error(), "do not use hotpatch on this host, and please report it")
	}
	remedy := "report it, please: nothing known explains it"
	if denied {
		remedy = deniedBy(h, r)
	}
	return problem(s.check, s.err.Error(), remedy)
}
