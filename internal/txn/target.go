package txn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// target is one process as we see it while it runs. What may change under us
// (maps, modules) is read again before every attempt.
type target struct {
	info     proc.Info
	mem      *ptrace.Mem
	start    []byte // what the kernel told the program at its start; nil: it cannot be read
	maps     []proc.Map
	modules  []proc.Module
	journals []*journal // by Seq
	tables   *Tables
	staying  map[uint64]error      // by bias: what stays said of modules
	keys     map[proc.Map]imageKey // of modules, by first mapping
	stack    []byte                // for checkers, one at a time
	until    time.Time             // when looking at it is given up
	left     bool                  // mem is still being read by somebody who was given up
}

// openTarget looks at a process that is to be changed. It refuses those that
// must not or cannot be.
func openTarget(pid int, tables *Tables) (*target, error) {
	if pid == os.Getpid() {
		return nil, refuse("this is hotpatch itself; it cannot stop and patch its own threads")
	}
	info, err := proc.Read(pid)
	switch {
	case errors.Is(err, proc.ErrGone):
		return nil, err
	case errors.Is(err, fs.ErrPermission):
		return nil, refuse("not permitted to look at this process: run as root or as its user")
	case err != nil:
		return nil, err
	case info.Kernel:
		return nil, refuse("this is a kernel thread; it has no user memory")
	case info.Live == 0:
		return nil, fmt.Errorf("it is a zombie: %w", proc.ErrGone)
	case info.Dumping:
		return nil, errDumping
	case info.PPID == os.Getpid():
		return nil, refuse("it is a child of this very process, whose own waiting would take the stops that a tracer waits for; start it through another process")
	}
	t := &target{info: info, tables: tables}
	t.start = t.told() // before mem: rather know too old a start than too young a one
	if t.mem, err = ptrace.OpenMem(info.Live); errors.Is(err, ptrace.ErrDenied) {
		// Perhaps we may trace it all the same: then it opens the file (own).
		if m, rerr := proc.OpenMem(info.Live); rerr == nil {
			t.mem, err = ptrace.ReadOnly(m), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// errDumping: a thread that writes a core dump into a pipe and is interrupted ends
// it there, and what is left of the dump is of no use.
var errDumping = fmt.Errorf("it has crashed and writes its core dump, which must not be disturbed: %w", proc.ErrGone)

// told reads what the kernel told the program at its start. nil: it cannot be
// read.
func (t *target) told() []byte {
	b, err := proc.Auxv(t.info.Live)
	if err != nil {
		return nil
	}
	return b
}

// replaced says whether the process has started another program since it was
// looked at. Then mem is the memory of the old one, if others such as a child
// cloned with CLONE_VM keep that, and is not what the mappings say. Addresses in
// what a program is told at its start are random.
func (t *target) replaced() bool {
	now := t.told()
	return len(t.start) > 0 && len(now) > 0 && !bytes.Equal(now, t.start)
}

// free refuses a process that is not ours alone to change. Other hotpatches
// are kept out by the lock already.
func (t *target) free() error {
	info, err := proc.Read(t.info.PID)
	if err != nil {
		return err
	}
	if info.TracerPID != 0 {
		return refuse("thread %d is being traced by process %d (a debugger or strace?); a process has one tracer", info.Live, info.TracerPID)
	}
	if info.PPID == 0 {
		return nil
	}
	return sharesMemory(info.Live, []int{info.PPID})
}

func (t *target) close() {
	if t.stack != nil {
		t.tables.stacks.Put(&t.stack)
	}
	if !t.left {
		_ = t.mem.Close() // nothing is buffered
	}
}

// room for stacks that has memory already, before anything stands still.
func (t *target) stackBuffer() []byte {
	if t.stack == nil {
		if b, ok := t.tables.stacks.Get().(*[]byte); ok {
			t.stack = *b
		} else {
			t.stack = make([]byte, 64<<10)
			clear(t.stack)
		}
	}
	return t.stack
}

// meet is refresh for the first time, when it is not known yet whether the memory of
// the process comes at all (proc.ErrStuck): no read of it need ever end. Who is
// stuck in one is given up, and closes the memory; the process is refused.
func (t *target) meet() error {
	var mu sync.Mutex
	reading, over := false, false
	type met struct {
		target
		err error
	}
	var got met
	seen := *t // which is not looked at any more by who is given up
	proc.Each([]int{t.info.PID}, func(_ int, buf []byte) (met, []byte) {
		m := met{target: seen}
		mu.Lock()
		reading = !over
		mu.Unlock()
		if !reading {
			return m, buf
		}
		m.err = m.refresh()
		mu.Lock()
		defer mu.Unlock()
		reading = false
		if over {
			_ = m.mem.Close()
		}
		return m, buf
	}, func(_ int, m met, stuck error) {
		if got = m; stuck != nil {
			mu.Lock()
			over, t.left = true, reading
			mu.Unlock()
			got = met{target: *t, err: refuse("%v", proc.ErrStuck)}
		}
	})
	*t = got.target
	return got.err
}

// refresh reads mappings, modules and journals anew. Of a process that maps
// and unmaps code all the time (a JIT) the first picture may not hold together.
func (t *target) refresh() (err error) {
	for range 5 {
		if err = t.look(); err == nil || errors.Is(err, ptrace.ErrGone) || errors.Is(err, proc.ErrGone) || errors.Is(err, errUnbelieved) {
			return err
		}
	}
	return err
}

func (t *target) look() error {
	t.until = time.Now().Add(mostLooking)
	maps, err := proc.Maps(t.info.PID)
	if err != nil {
		return err
	}
	modules, err := proc.ModulesIn(maps, t.mem)
	if err != nil {
		return fmt.Errorf("read loaded images: %w", err)
	}
	journals, err := findJournals(maps, among(modules), t.mem)
	if err != nil {
		return err
	}
	t.maps, t.modules, t.journals, t.staying = maps, modules, journals, nil
	clear(t.keys) // a file may have been written to
	return nil
}

// sharesMemory finds a relative that shares the address space, as after vfork:
// its threads would run on while we write. Where the kernel does not tell (no
// kcmp, no permission) vfork still shows: the parent's thread cannot be stopped.
func sharesMemory(pid int, relatives []int) error {
	for _, other := range relatives {
		if same, err := ptrace.SharesMemory(pid, other); err == nil && same {
			return &busy{reason: fmt.Sprintf("it shares its memory with process %d (vfork?)", other)}
		}
	}
	return nil
}

// changed says whether the pid names another process than before. That we lack
// the means to look says nothing of it.
func (t *target) changed() bool {
	now, err := proc.Read(t.info.PID)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
		return false
	}
	return err != nil || now.Start != t.info.Start || now.Live == 0
}

// places names addresses of code as people and addr2line know them.
func (t *target) places(pcs []uint64) []string {
	var out []string
	for _, pc := range pcs {
		name := fmt.Sprintf("%#x", pc)
		for _, m := range t.modules {
			if pc >= m.Lo() && pc < m.Hi() {
				name = fmt.Sprintf("%s+%#x", path.Base(m.Path), pc-m.Bias)
				break
			}
		}
		for _, j := range t.journals {
			for _, g := range j.Regions {
				if lo, hi := g.code(); pc >= lo && pc < hi {
					name = fmt.Sprintf("hotpatch %s+%#x", j.ID.Short(), pc-lo)
				}
			}
		}
		out = append(out, name)
	}
	return out
}

func (t *target) threads() ([]int, error) { return proc.Threads(t.info.PID) }
