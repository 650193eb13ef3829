// Package unwind answers one question: which return addresses are on this
// stack? It only reads memory and never touches a register or a process.
//
// All unwind programs of an image are run once, when its Table is made, and
// leave a flat list of rows by address. Walking a stack is then a search and a
// few reads per frame, with nothing lazy and nothing allocated: it happens
// while a process stands still.
//
// CFI: DWARF 5 §6.4; .eh_frame differences: LSB 5.0 §10.6; registers: x86-64
// psABI figure 3.36.
package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
)

// Regs are the DWARF registers 0..16: rax rdx rcx rbx rsi rdi rbp rsp r8..r15 rip.
type Regs [17]uint64

const (
	RSP = 7
	RIP = 16
)

// all are the registers of Regs as a set of bits; preserved those that a call
// leaves as they were (psABI figure 3.4: rbx, rbp, r12 to r15; rsp and rip are
// computed for every frame).
const (
	all       uint32 = 1<<17 - 1
	preserved uint32 = 1<<3 | 1<<6 | 1<<12 | 1<<13 | 1<<14 | 1<<15
)

// Bounds on one stack. Real ones stay below a few hundred frames and two
// nested signals; deep recursion is the exception.
const (
	maxFrames  = 10_000
	maxSignals = 64
)

// Module is one loaded image's unwind data.
type Module struct {
	Name   string // for messages
	Lo, Hi uint64 // run-time range of its executable mappings
	Bias   uint64 // run-time minus file address
	Table  *Table // nil: none, and every stack through it is an error
}

// Space is all modules of one process. Build it before the process is stopped:
// nothing in Stack is lazy. It is immutable and safe to share.
type Space struct{ modules []Module }

// NewSpace sorts the modules. Overlapping ranges are an error.
func NewSpace(ms []Module) (*Space, error) {
	s := &Space{slices.Clone(ms)}
	slices.SortFunc(s.modules, func(a, b Module) int {
		if a.Lo < b.Lo {
			return -1
		}
		return 1
	})
	for i, m := range s.modules {
		if m.Hi <= m.Lo {
			return nil, fmt.Errorf("module %s: empty range %#x-%#x", m.Name, m.Lo, m.Hi)
		}
		if i > 0 && s.modules[i-1].Hi > m.Lo {
			return nil, fmt.Errorf("modules %s and %s overlap at %#x", s.modules[i-1].Name, m.Name, m.Lo)
		}
		if m.Table != nil {
			if err := m.Table.prepare(); err != nil {
				return nil, fmt.Errorf("unwind data of %s: %w", m.Name, err)
			}
		}
	}
	return s, nil
}

// Find is the module whose code range holds pc.
func (s *Space) Find(pc uint64) (Module, bool) {
	if m := s.find(pc); m != nil {
		return *m, true
	}
	return Module{}, false
}

func (s *Space) find(pc uint64) *Module {
	i := sort.Search(len(s.modules), func(i int) bool { return s.modules[i].Hi > pc })
	if i == len(s.modules) || s.modules[i].Lo > pc {
		return nil
	}
	return &s.modules[i]
}

// Frame is one activation of a function.
type Frame struct {
	PC uint64 // where it runs, or will go on when what it called returns
	SP uint64 // its stack pointer there
	// Exact: PC is the instruction that runs next, not a return address: the
	// innermost frame, and what a signal interrupted. A return address can be
	// the first byte after its function, when the call never returns.
	Exact bool
}

// Code is an address inside the function that is active.
func (f Frame) Code() uint64 {
	if f.Exact {
		return f.PC
	}
	return f.PC - 1
}

// Stack returns the program counter and every return address, innermost first;
// for the frame that a signal interrupted, where it was interrupted.
// An error means that the stack could not be read to its end: then the
// addresses found so far prove nothing, and the thread is unsafe.
// mem reads the process at run-time addresses (io.ReaderAt offset = address).
//
// A return address can be the first byte after the function that is active:
// Frames tells in which function each of them is.
func (s *Space) Stack(regs Regs, mem io.ReaderAt) ([]uint64, error) {
	frames, err := s.Frames(nil, &regs, mem)
	pcs := make([]uint64, len(frames))
	for i, f := range frames {
		pcs[i] = f.PC
	}
	return pcs, err
}

// Frames appends the frames of a stack to a slice of the caller's, innermost
// first. With enough room in it, and a *Window for mem, it allocates nothing.
// An error means the same as that of Stack.
//
// The end of a stack is a frame whose return address is undefined by its
// unwind data (_start, clone), or is 0: what returns there cannot run on.
// Frames of other stacks (coroutines that are switched away) are not seen.
func (s *Space) Frames(frames []Frame, regs *Regs, mem io.ReaderAt) ([]Frame, error) {
	w := walkers.Get().(*walker)
	w.space, w.regs, w.valid, w.mem = s, *regs, all, mem
	w.window, _ = mem.(*Window)
	w.blockAt, w.steps = 0, 0
	frames, err := w.walk(frames)
	w.space, w.mem, w.window, w.module = nil, nil, nil, nil
	walkers.Put(w)
	return frames, err
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

// walker is the state of one walk: the registers as they are in the frame that
// is being looked at.
type walker struct {
	space  *Space
	module *Module // of the last frame
	mem    io.ReaderAt
	window *Window // mem, when it is one
	regs   Regs
	valid  uint32 // which registers are known in this frame
	buf    [8]byte
	stack  [exprStack]uint64
	steps  int // of expressions

	blockAt uint64 // address of block, 0: none
	block   [blockSize]byte
}

const blockSize = 1024

func (w *walker) walk(frames []Frame) ([]Frame, error) {
	exact := true
	signals := 0
	for n := 0; ; n++ {
		f := Frame{PC: w.regs[RIP], SP: w.regs[RSP], Exact: exact}
		if n == maxFrames {
			return frames, frameError(n, f.PC, fmt.Errorf("more than %d frames", maxFrames))
		}
		frames = append(frames, f)
		r, err := w.row(f)
		if err != nil {
			return frames, frameError(n, f.PC, err)
		}
		if r.end {
			return frames, nil
		}
		if r.signal {
			if signals++; signals > maxSignals {
				return frames, frameError(n, f.PC, fmt.Errorf("more than %d signal frames", maxSignals))
			}
		}
		if err := w.step(r); err != nil {
			return frames, frameError(n, f.PC, err)
		}
		if w.regs[RIP] == 0 {
			return frames, nil
		}
		exact = r.signal
	}
}

func frameError(n int, pc uint64, err error) error {
	return fmt.Errorf("unwind frame %d at %#x: %w", n, pc, err)
}

var (
	errNoModule = errors.New("in no module")
	errNoTable  = errors.New("no unwind data")
	errGap      = errors.New("nothing describes this code")
)

// row finds what is to be done for a frame.
func (w *walker) row(f Frame) (*row, error) {
	if !f.Exact {
		// A signal handler returns to the first byte of the trampoline. glibc
		// lets the unwind data start one byte early; others may not.
		if m := w.at(f.PC); m != nil && m.Table != nil && m.Table.signalAt(f.PC-m.Bias) {
			return w.rowAt(f.PC)
		}
	}
	return w.rowAt(f.Code())
}

// at is the module that holds pc.
func (w *walker) at(pc uint64) *Module {
	if m := w.module; m != nil && m.Lo <= pc && pc < m.Hi {
		return m
	}
	m := w.space.find(pc)
	if m != nil {
		w.module = m
	}
	return m
}

func (w *walker) rowAt(pc uint64) (*row, error) {
	m := w.at(pc)
	if m == nil {
		return nil, errNoModule
	}
	if m.Table == nil {
		return nil, fmt.Errorf("%s: %w", m.Name, errNoTable)
	}
	r := m.Table.lookup(pc - m.Bias)
	if r == nil {
		return nil, fmt.Errorf("%s+%#x: %w", m.Name, pc-m.Bias, errGap)
	}
	if r.bad != nil {
		return nil, fmt.Errorf("%s+%#x: %w", m.Name, pc-m.Bias, r.bad)
	}
	return r, nil
}

// step replaces the registers of a frame by those of its caller.
func (w *walker) step(r *row) error {
	cfa, err := w.cfa(r)
	if err != nil {
		return err
	}
	sp := w.regs[RSP]
	next, valid := w.regs, w.valid&preserved
	next[RSP] = cfa
	valid |= 1<<RSP | 1<<RIP
	for i := range r.rules {
		u := &r.rules[i]
		var v uint64
		switch u.kind {
		case atOffset:
			v, err = w.word(cfa + uint64(u.off))
		case valOffset:
			v = cfa + uint64(u.off)
		case inRegister:
			v, err = w.register(u.from)
		case atExpr:
			if v, err = w.eval(u.expr, cfa, true); err == nil {
				v, err = w.word(v)
			}
		case valExpr:
			v, err = w.eval(u.expr, cfa, true)
		case undefined:
			valid &^= 1 << u.reg
			continue
		case same: // explicitly: also when calls do not preserve it
			valid |= w.valid & (1 << u.reg)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s of the caller: %w", regName(u.reg), err)
		}
		next[u.reg] = v
		valid |= 1 << u.reg
	}
	// Stacks grow down, so callers are above. A return address in a register
	// (vfork) is popped already. A signal may have come on another stack.
	if up := next[RSP]; up <= sp && !r.signal && (up < sp || !r.popped) {
		return fmt.Errorf("the caller's stack pointer %#x is not above %#x", up, sp)
	}
	w.regs, w.valid = next, valid
	return nil
}

// cfa is the canonical frame address: the stack pointer before the call.
func (w *walker) cfa(r *row) (uint64, error) {
	if r.cfaExpr != nil {
		v, err := w.eval(r.cfaExpr, 0, false)
		if err != nil {
			return 0, fmt.Errorf("frame address: %w", err)
		}
		return v, nil
	}
	v, err := w.register(r.cfaReg)
	if err != nil {
		return 0, fmt.Errorf("frame address: %w", err)
	}
	return v + uint64(r.cfaOff), nil
}

// register is a register's value in this frame.
func (w *walker) register(n uint8) (uint64, error) {
	if w.valid&(1<<n) == 0 {
		return 0, fmt.Errorf("%s is not known here: a call may have changed it", regName(n))
	}
	return w.regs[n], nil
}

// word reads 8 bytes of the process, through a block that is kept: one read
// serves several registers and frames. A block is part of one page, so all of it
// can be read or nothing; a reader that knows no pages is asked again for what
// is needed.
func (w *walker) word(addr uint64) (uint64, error) {
	if w.window != nil {
		if v, ok := w.window.word(addr); ok {
			return v, nil
		}
	}
	if off := addr - w.blockAt; off <= blockSize-8 && w.blockAt != 0 {
		return binary.LittleEndian.Uint64(w.block[off:]), nil
	}
	if at := addr &^ (blockSize - 1); addr-at <= blockSize-8 && at != 0 {
		w.blockAt = 0
		if w.read(w.block[:], at) == nil {
			w.blockAt = at
			return binary.LittleEndian.Uint64(w.block[addr-at:]), nil
		}
	}
	if err := w.read(w.buf[:], addr); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(w.buf[:]), nil
}

func (w *walker) read(p []byte, addr uint64) error {
	if addr > 1<<63-16 {
		return fmt.Errorf("read at %#x: no user address", addr)
	}
	n, err := w.mem.ReadAt(p, int64(addr))
	if n == len(p) { // io.ReaderAt may say io.EOF with the last bytes
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at %#x: %w", addr, err)
}

func regName(n uint8) string {
	const names = "rax rdx rcx rbx rsi rdi rbp rsp r8  r9  r10 r11 r12 r13 r14 r15 rip "
	if int(n) >= len(Regs{}) {
		return fmt.Sprintf("register %d", n)
	}
	name := names[4*n : 4*n+3]
	if name[2] == ' ' {
		name = name[:2]
	}
	return name
}
