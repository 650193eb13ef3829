package txn

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/unwind"
)

// checker decides whether stopped threads are clear of the guards. Everything
// that can be looked up is looked up before the stop.
type checker struct {
	pid    int
	mem    *ptrace.Mem
	maps   []proc.Map
	space  *unwind.Space // nil: not read yet
	guards []guard
	known  map[int]bool   // threads that were there when maps was read
	held   []unwind.Range // the guards, joined
	ranges []unwind.Range // and signal trampolines
	stack  []byte
	frames []unwind.Frame

	// least, if not nil, decides when the guards are not clear: replaced code
	// may be on a stack, and lingers says where it was found.
	least   *checker
	lingers string
}

func newChecker(t *target, space *unwind.Space, guards []guard, trampolines []unwind.Range) *checker {
	k := &checker{
		pid: t.info.PID, mem: t.mem, maps: t.maps, space: space, guards: guards, known: map[int]bool{},
		stack: t.stackBuffer(), frames: make([]unwind.Frame, 0, 64),
	}
	for _, g := range guards {
		k.held = append(k.held, unwind.Range{Lo: g.lo, Hi: g.hi})
	}
	k.held = merged(k.held)
	k.ranges = merged(append(slices.Clone(k.held), trampolines...))
	return k
}

// merged sorts ranges and joins those that touch, as Scan wants them.
func merged(rs []unwind.Range) []unwind.Range {
	slices.SortFunc(rs, func(a, b unwind.Range) int { return cmp.Compare(a.Lo, b.Lo) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

func (k *checker) guardAt(pc uint64) (string, bool) {
	i, _ := slices.BinarySearchFunc(k.held, pc, func(r unwind.Range, pc uint64) int {
		if r.Hi <= pc {
			return -1
		}
		return 1
	})
	if i == len(k.held) || pc < k.held[i].Lo {
		return "", false
	}
	for _, g := range k.guards {
		if pc >= g.lo && pc < g.hi {
			return g.name, true
		}
	}
	return "", false
}

// maxScan bounds how much stack is read while the process stands still. A
// stack deeper than that is unwound instead.
const maxScan = 1 << 20

// check fails with *busy unless every thread is clear, or clear of the least
// that must be.
func (k *checker) check(threads []ptrace.Thread) error {
	for i := range threads {
		err := k.clear(&threads[i])
		if b := (*busy)(nil); errors.As(err, &b) && k.lookAgain(threads, threads[i].TID) {
			err = k.clear(&threads[i])
		}
		if b := (*busy)(nil); k.least != nil && errors.As(err, &b) {
			if err = k.least.clear(&threads[i]); err == nil {
				k.lingers = b.reason
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookAgain reads the mappings anew for a thread that is younger than they are,
// and says whether it did. Without them only unwinding can clear it, which
// fails at a thread's very first instruction: behind the system call in clone3,
// that of glibc has no unwind data.
func (k *checker) lookAgain(stopped []ptrace.Thread, tid int) bool {
	if k.known[tid] {
		return false
	}
	maps, err := proc.Maps(k.pid)
	if err != nil {
		return false // it stays busy
	}
	k.maps = maps
	if k.least != nil {
		k.least.maps = maps
	}
	for i := range stopped { // their stacks are there as long as they stand still
		k.known[stopped[i].TID] = true
	}
	return true
}

// clear fails with *busy unless the thread is.
//
// Scanning the words of a stack is quick and misses nothing that is on it, but
// stale slots can keep a thread busy for ever, and it does not see the frames
// below a signal handler on an alternate stack. So a hit, a signal
// trampoline, or a stack that is too large or oddly aligned to scan is
// answered by unwinding; a stack that cannot be unwound is not safe.
func (k *checker) clear(th *ptrace.Thread) error {
	if name, in := k.guardAt(th.Regs.Rip); in {
		return &busy{reason: fmt.Sprintf("%s is running in thread %d", name, th.TID)}
	}
	clear, stack := k.scan(th)
	if clear || th.Regs.Rip == 0 && surelyWorker(k.pid, th.TID) {
		return nil
	}
	return k.unwind(th, stack)
}

// scan reads the stack of a thread to its end and says whether nothing on it
// leads into the ranges. The bytes are valid until the next call. A stack of
// which this cannot be said is not clear.
func (k *checker) scan(th *ptrace.Thread) (clear bool, stack []byte) {
	sp := th.Regs.Rsp
	end, ok := stackEnd(k.maps, sp)
	if !ok || !k.known[th.TID] || sp%8 != 0 || end-sp > maxScan {
		return false, nil
	}
	n := int(end - sp)
	if n > len(k.stack) {
		k.stack = make([]byte, n)
	}
	b := k.stack[:n]
	if _, err := k.mem.ReadAt(b, int64(sp)); err != nil {
		return false, nil
	}
	hit, _ := unwind.Scan(b, sp, k.ranges)
	return !hit, b
}

// stackEnd is where the memory that sp is in ends. Neighbouring anonymous
// mappings belong to it: mlock, mprotect or madvise of a part splits a stack.
func stackEnd(maps []proc.Map, sp uint64) (uint64, bool) {
	for i, m := range maps {
		if sp < m.Start || sp >= m.End {
			continue
		}
		end := m.End
		for _, next := range maps[i+1:] {
			if next.Start != end || !next.Read || next.Shared || next.Inode != 0 {
				break
			}
			end = next.End
		}
		return end, m.Read
	}
	return 0, false
}

// errNeedsUnwinding: a stack cannot be cleared without unwind data.
var errNeedsUnwinding = errors.New("a stack has to be unwound")

func (k *checker) unwind(th *ptrace.Thread, stack []byte) error {
	if k.space == nil {
		return errNeedsUnwinding
	}
	mem := &unwind.Window{Base: th.Regs.Rsp, Bytes: stack, Else: k.mem}
	regs := dwarfRegs(&th.Regs)
	frames, err := k.space.Frames(k.frames[:0], &regs, mem)
	if err != nil {
		return &busy{reason: fmt.Sprintf("the stack of thread %d may hold replaced code and cannot be unwound: %v", th.TID, err)}
	}
	k.frames = frames
	for _, f := range frames {
		if name, in := k.guardAt(f.Code()); in {
			return &busy{reason: fmt.Sprintf("%s is on the stack of thread %d", name, th.TID), stack: places(frames)}
		}
	}
	return nil
}

// mostPlaces is how much of a stack is kept for people to see.
const mostPlaces = 32

func places(frames []unwind.Frame) []uint64 {
	var out []uint64
	for _, f := range frames[:min(len(frames), mostPlaces)] {
		out = append(out, f.Code())
	}
	return out
}

// dwarfRegs reorders the registers (psABI figure 3.36).
func dwarfRegs(r *ptrace.Regs) unwind.Regs {
	return unwind.Regs{
		r.Rax, r.Rdx, r.Rcx, r.Rbx, r.Rsi, r.Rdi, r.Rbp, r.Rsp,
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15, r.Rip,
	}
}
