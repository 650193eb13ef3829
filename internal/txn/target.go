package txn

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/unwind"
)

// target is one process as we see it while it runs. What may change under us
// (maps, modules) is read again before every attempt.
type target struct {
	info     proc.Info
	mem      *ptrace.Mem
	maps     []proc.Map
	modules  []proc.Module
	journals []*journal // by Seq
	tables   *Tables
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
	case info.PPID == os.Getpid():
		return nil, refuse("it is a child of this very process, whose own waiting would take the stops that a tracer waits for; start it through another process")
	}
	t := &target{info: info, tables: tables}
	if t.mem, err = ptrace.OpenMem(info.Live); err != nil {
		return nil, err
	}
	return t, nil
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
	return sharesMemory(info.PID, []int{info.PPID})
}

func (t *target) close() { _ = t.mem.Close() } // nothing is buffered

// refresh reads mappings, modules and journals anew. Of a process that maps
// and unmaps code all the time (a JIT) the first picture may not hold together.
func (t *target) refresh() (err error) {
	for range 5 {
		if err = t.look(); err == nil || errors.Is(err, ptrace.ErrGone) || errors.Is(err, proc.ErrGone) {
			return err
		}
	}
	return err
}

func (t *target) look() error {
	maps, err := proc.Maps(t.info.PID)
	if err != nil {
		return err
	}
	modules, err := proc.ModulesIn(maps, t.mem)
	if err != nil {
		return fmt.Errorf("read loaded images: %w", err)
	}
	journals, err := findJournals(maps, t.mem)
	if err != nil {
		return err
	}
	t.maps, t.modules, t.journals = maps, modules, journals
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

// changed says whether the pid names another process than before.
func (t *target) changed() bool {
	now, err := proc.Read(t.info.PID)
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

// Tables keeps what stack checks need to know of an image between processes:
// hundreds share a libc. The zero value is empty and ready; safe for
// concurrent use.
type Tables struct {
	mu          sync.Mutex
	unwind      map[string]*unwind.Table // by build-id; nil: it has no data we can read
	trampolines map[string][]unwind.Range
	switches    map[string]string // how it switches stacks; "": not
	padding     map[string]uint64 // base address of padding near an entry, by build-id and entry
}

// remember returns what is known of id, or reads and keeps it. Images without
// a build-id are read every time.
func remember[T any](c *Tables, m *map[string]T, id string, read func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := (*m)[id]; ok {
		return v, nil
	}
	v, err := read()
	if err != nil || id == "" {
		return v, err
	}
	if *m == nil {
		*m = map[string]T{}
	}
	(*m)[id] = v
	return v, nil
}

// space collects the unwind data of everything executable in the process:
// images, vdso, and the code that we brought. An image whose data cannot be
// read has none: a stack through it is unreadable, hence unsafe.
func (t *target) space() (*unwind.Space, error) {
	var ms []unwind.Module
	for _, m := range t.modules {
		table, err := remember(t.tables, &t.tables.unwind, m.BuildID, func() (*unwind.Table, error) { return t.table(m) })
		if err != nil {
			continue
		}
		lo, hi := m.Code()
		ms = append(ms, unwind.Module{Name: m.Path, Lo: lo, Hi: hi, Bias: m.Bias, Table: table})
	}
	for _, j := range t.journals {
		if j.Phase == reverted {
			continue
		}
		for _, r := range j.carried() {
			if r.EHFrame == 0 {
				continue
			}
			data := make([]byte, r.EHSize)
			if _, err := t.mem.ReadAt(data, int64(r.EHFrame)); err != nil {
				return nil, fmt.Errorf("read carried unwind data: %w", err)
			}
			table, err := unwind.TableFrom(data, image.Addr(r.EHFrame))
			if err != nil {
				return nil, fmt.Errorf("carried unwind data at %#x: %w", r.EHFrame, err)
			}
			lo, hi := r.code()
			ms = append(ms, unwind.Module{Name: "hotpatch " + j.ID.Short(), Lo: lo, Hi: hi, Table: table})
		}
	}
	return unwind.NewSpace(ms)
}

// trampolines are where signal handlers return to, in all images: a stack that
// holds such an address continues somewhere else.
func (t *target) trampolines() ([]unwind.Range, error) {
	var all []unwind.Range
	for _, m := range t.maps {
		if m.Path == "[uprobes]" { // a traced call returns there; the true return address is the kernel's
			all = append(all, unwind.Range{Lo: m.Start, Hi: m.End})
		}
	}
	for _, m := range t.modules {
		rs, err := remember(t.tables, &t.tables.trampolines, m.BuildID, func() ([]unwind.Range, error) { return t.trampolinesOf(m) })
		if err != nil {
			return nil, fmt.Errorf("read code of %s: %w", m.Path, err)
		}
		for _, r := range rs {
			all = append(all, unwind.Range{Lo: r.Lo + m.Bias, Hi: r.Hi + m.Bias})
		}
	}
	return all, nil
}

// trampolinesOf looks in the module's file where it can: the kernel hands out
// the pages of a file ten times as fast as those of another process, and
// nobody changes a signal trampoline in memory.
func (t *target) trampolinesOf(m proc.Module) ([]unwind.Range, error) {
	if f, _, c, err := proc.Open(t.info.PID, m); err == nil {
		defer c.Close()
		if rs, err := findTrampolines(m, f, func(p proc.Map) uint64 { return p.Off }); err == nil {
			return rs, nil
		}
	}
	return findTrampolines(m, t.mem, func(p proc.Map) uint64 { return p.Start })
}

// findTrampolines reads the module's code from r, where from tells the place of
// a mapping.
func findTrampolines(m proc.Module, r io.ReaderAt, from func(proc.Map) uint64) ([]unwind.Range, error) {
	const overlap = 32 // more than a trampoline, so that none is cut in two unseen
	var rs []unwind.Range
	buf := make([]byte, 128<<10)
	for _, p := range m.Maps {
		if !p.Exec {
			continue
		}
		for at := p.Start; at < p.End; {
			b := buf[:min(uint64(len(buf)), p.End-at)]
			n, err := r.ReadAt(b, int64(from(p)+at-p.Start))
			if err != nil && !errors.Is(err, io.EOF) { // the last page of a file is mapped whole
				return nil, err
			}
			rs = append(rs, unwind.Trampolines(b[:n], at-m.Bias)...)
			if at += uint64(n); err != nil || at == p.End {
				break
			}
			at -= overlap
		}
	}
	return rs, nil
}

// table reads a module's .eh_frame from its file, which may be deleted or in
// another mount namespace; the vdso is only in memory.
func (t *target) table(m proc.Module) (*unwind.Table, error) {
	var r io.ReaderAt
	if m.Path == "[vdso]" {
		b := make([]byte, m.Hi()-m.Lo())
		if _, err := t.mem.ReadAt(b, int64(m.Lo())); err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	} else {
		f, _, c, err := proc.Open(t.info.PID, m)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		r = f
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.Path, err)
	}
	s := f.Section(".eh_frame")
	if s == nil {
		return nil, fmt.Errorf("%s has no .eh_frame", m.Path)
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .eh_frame of %s: %w", m.Path, err)
	}
	return unwind.TableFrom(data, image.Addr(s.Addr))
}

// findRoom finds StubRoom bytes of padding behind the code of some module: the
// rest of the last page of an executable segment, which no address in any
// table refers to. A stub that a killed tool left there may be overwritten
// when no thread is in it.
func (t *target) findRoom() (uint64, error) {
	at, err := t.findRoomWhere(func(_ uint64, room []byte) bool { return allZero(room) })
	if at != 0 || err != nil {
		return at, err
	}
	at, err = t.findRoomWhere(func(at uint64, room []byte) bool { return ptrace.IsStub(room) && t.roomIdle(at) })
	if at != 0 || err != nil {
		return at, err
	}
	return 0, refuse("no loaded image has %d unused bytes behind its code for the stub that maps the new code", ptrace.StubRoom)
}

// findRoomWhere is the first room that fits, 0 when there is none: better in an
// image that stays than in one that may be unloaded while a thread is in there.
func (t *target) findRoomWhere(fits func(at uint64, room []byte) bool) (uint64, error) {
	at, err := t.findRoomIn(fits, func(m proc.Module) bool { return t.stays(m) == nil })
	if at != 0 || err != nil {
		return at, err
	}
	return t.findRoomIn(fits, func(proc.Module) bool { return true })
}

func (t *target) findRoomIn(fits func(at uint64, room []byte) bool, in func(proc.Module) bool) (uint64, error) {
	for _, m := range t.modules {
		if m.Path == "[vdso]" {
			continue
		}
		end, limit, err := t.codeEnd(m)
		if errors.Is(err, ptrace.ErrGone) {
			return 0, err
		}
		if err != nil {
			continue // another module will do
		}
		for at := (end + 15) &^ 15; at+ptrace.StubRoom <= limit; at += ptrace.StubRoom {
			room := make([]byte, ptrace.StubRoom)
			if _, err := t.mem.ReadAt(room, int64(at)); err != nil {
				break
			}
			if fits(at, room) && in(m) {
				return at, nil
			}
		}
	}
	return 0, nil
}

// codeEnd is where the executable segment of a module really ends, and where
// its last page does.
func (t *target) codeEnd(m proc.Module) (end, limit uint64, err error) {
	var h [64]byte
	if _, err := t.mem.ReadAt(h[:], int64(m.Lo())); err != nil {
		return 0, 0, err
	}
	le := binary.LittleEndian
	off, n := le.Uint64(h[32:]), int(le.Uint16(h[56:]))
	if string(h[:4]) != elf.ELFMAG || off > pageSize || n > 64 {
		return 0, 0, fmt.Errorf("%s: unusual program headers", m.Path)
	}
	ph := make([]byte, n*56)
	if _, err := t.mem.ReadAt(ph, int64(m.Lo()+off)); err != nil {
		return 0, 0, err
	}
	for ; len(ph) > 0; ph = ph[56:] {
		if elf.ProgType(le.Uint32(ph)) != elf.PT_LOAD || elf.ProgFlag(le.Uint32(ph[4:]))&elf.PF_X == 0 {
			continue
		}
		end = m.Bias + le.Uint64(ph[16:]) + le.Uint64(ph[40:]) // vaddr + memsz
		limit = (end + pageSize - 1) &^ (pageSize - 1)
		if at, ok := proc.Find(t.maps, end-1); !ok || !at.Exec || at.Write || limit > at.End {
			return 0, 0, fmt.Errorf("%s: code is not mapped as its headers say", m.Path)
		}
		return end, limit, nil
	}
	return 0, 0, fmt.Errorf("%s: no executable segment", m.Path)
}

// roomIdle says that no thread sleeps inside a left-over stub, or in a signal
// handler that may have interrupted it there. A thread that is running, or whose
// state cannot be read, counts as inside.
func (t *target) roomIdle(at uint64) bool {
	tids, err := t.threads()
	if err != nil {
		return false
	}
	for _, tid := range tids {
		s, err := proc.ReadSyscall(t.info.PID, tid)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil || s.Running || s.PC >= at && s.PC < at+ptrace.StubRoom {
			return false
		}
		end, ok := stackEnd(t.maps, s.SP)
		if !ok || end-s.SP > maxScan {
			return false
		}
		stack := make([]byte, end-s.SP)
		if _, err := t.mem.ReadAt(stack, int64(s.SP)); err != nil {
			return false
		}
		if hit, _ := unwind.Scan(stack, s.SP, []unwind.Range{{Lo: at, Hi: at + ptrace.StubRoom}}); hit {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
