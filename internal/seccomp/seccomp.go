// Package seccomp answers one question: what does a seccomp filter say to a
// system call? It computes what the kernel would; it knows nobody's filters.
//
// What cannot be computed exactly is an error: programs that the kernel would not
// have taken, and the few instructions that x/net/bpf does not know or knows
// otherwise.
//
// seccomp(2); kernel/seccomp.c and net/core/filter.c of Linux 6.1.
package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// Call is a system call as a filter sees it.
type Call struct {
	NR, Arch uint32
	IP       uint64 // behind the instruction
	Args     [6]uint64
}

// ArchX8664 is AUDIT_ARCH_X86_64, of calls by the instruction syscall in 64-bit code.
const ArchX8664 = 0xc000003e

// Action is what is done about a call: SECCOMP_RET_* without its data.
type Action uint32

const (
	KillProcess Action = 0x80000000
	KillThread  Action = 0
	Trap        Action = 0x00030000
	Errno       Action = 0x00050000
	Notify      Action = 0x7fc00000 // a supervisor is asked
	Trace       Action = 0x7ff00000 // a tracer is asked; without one the call fails
	Log         Action = 0x7ffc0000 // the call is made, and written down
	Allow       Action = 0x7fff0000

	actionBits = 0xffff0000
)

// Passes says whether the call is made without anybody being asked. An action that
// is not known kills, as with the kernel.
func (a Action) Passes() bool { return a == Allow || a == Log }

// Stricter is what two filters of a thread together say: the kernel takes the
// action that is less, with its sign.
func Stricter(a, b Action) Action {
	if int32(a) < int32(b) {
		return a
	}
	return b
}

const (
	// MaxSize is the size of the longest program that there can be (BPF_MAXINSNS).
	MaxSize = 4096 * instrSize

	instrSize = 8                // struct sock_filter
	dataSize  = 4 + 4 + 8 + 6*8  // struct seccomp_data
	headSize  = 4 + 4            // its number and architecture
	loadWord  = 0x20             // BPF_LD | BPF_W | BPF_ABS
	lenToA    = 0x80             // BPF_LD | BPF_W | BPF_LEN
	lenToX    = 0x81             // BPF_LDX | BPF_W | BPF_LEN
	allOfData = uint32(dataSize) // what both load
	wordBits  = 32
)

// Filter is one program.
type Filter struct{ vm *bpf.VM }

var errUnknown = errors.New("not an instruction of a seccomp filter that can be followed")

// Decode reads a program as the kernel hands it out (PTRACE_SECCOMP_GET_FILTER).
func Decode(program []byte) (*Filter, error) {
	if len(program) == 0 || len(program)%instrSize != 0 || len(program) > MaxSize {
		return nil, fmt.Errorf("decode seccomp filter: %d bytes", len(program))
	}
	code := make([]bpf.Instruction, len(program)/instrSize)
	for i := range code {
		b := program[i*instrSize:]
		in, err := decode(bpf.RawInstruction{Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
		if err != nil {
			return nil, fmt.Errorf("decode seccomp filter: instruction %d: %w", i, err)
		}
		code[i] = in
	}
	vm, err := bpf.NewVM(code) // all jumps lead forward, and none beyond the end
	if err != nil {
		return nil, fmt.Errorf("decode seccomp filter: %w", err)
	}
	return &Filter{vm}, nil
}

// decode lets only through what the kernel lets into a filter (seccomp_check_filter)
// and what the VM does as the kernel does. It does not negate, takes a shift by more
// than 31 for zero, where the processor takes less of it, and loads the length into
// the wrong register.
func decode(raw bpf.RawInstruction) (bpf.Instruction, error) {
	if raw.Op > 0xff {
		return nil, errUnknown
	}
	switch in := raw.Disassemble().(type) {
	case bpf.LoadAbsolute:
		if raw.Op == loadWord && in.Off%4 == 0 && in.Off < dataSize {
			return in, nil
		}
	case bpf.LoadExtension:
		switch raw.Op {
		case lenToA:
			return bpf.LoadConstant{Dst: bpf.RegA, Val: allOfData}, nil
		case lenToX:
			return bpf.LoadConstant{Dst: bpf.RegX, Val: allOfData}, nil
		}
	case bpf.ALUOpConstant:
		shift := in.Op == bpf.ALUOpShiftLeft || in.Op == bpf.ALUOpShiftRight
		if in.Op != bpf.ALUOpMod && !(shift && in.Val >= wordBits) {
			return in, nil
		}
	case bpf.ALUOpX:
		if in.Op != bpf.ALUOpMod && in.Op != bpf.ALUOpShiftLeft && in.Op != bpf.ALUOpShiftRight {
			return in, nil
		}
	case bpf.LoadConstant, bpf.LoadScratch, bpf.StoreScratch, bpf.TAX, bpf.TXA,
		bpf.Jump, bpf.JumpIf, bpf.JumpIfX, bpf.RetA, bpf.RetConstant:
		return in, nil
	}
	return nil, errUnknown
}

// Ask says what the filter says to a call.
func (f *Filter) Ask(c Call) (Action, error) {
	var d [dataSize]byte
	lay(&d, c)
	return f.run(d[:])
}

// AskOf says what the filter says to every call of this number and architecture,
// where it lets them all pass without looking at anything else.
func (f *Filter) AskOf(nr, arch uint32) (Action, bool) {
	var d [dataSize]byte
	lay(&d, Call{NR: nr, Arch: arch})
	// A load beyond what there is ends the program with 0, which does not pass.
	a, err := f.run(d[:headSize])
	return a, err == nil && a.Passes()
}

func (f *Filter) run(data []byte) (Action, error) {
	says, err := f.vm.Run(data)
	if err != nil {
		return 0, fmt.Errorf("follow seccomp filter: %w", err)
	}
	return Action(uint32(says) & actionBits), nil
}

// lay lays the call out as struct seccomp_data is, but for the order of the bytes in
// each of its words: the VM takes them for those of a packet.
func lay(d *[dataSize]byte, c Call) {
	put := func(at int, v uint64) { // little-endian: the lower word comes first
		binary.BigEndian.PutUint32(d[at:], uint32(v))
		binary.BigEndian.PutUint32(d[at+4:], uint32(v>>32))
	}
	put(0, uint64(c.Arch)<<32|uint64(c.NR))
	put(headSize, c.IP)
	for i, v := range c.Args {
		put(headSize+8+8*i, v)
	}
}
