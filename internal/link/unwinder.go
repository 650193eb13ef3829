package link

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
)

// An unwinder (libgcc_s) finds the unwind data of a program counter by
//
//	const fde *_Unwind_Find_FDE(void *pc, struct dwarf_eh_bases *bases)
//
// which asks the dynamic loader and so does not know carried code. Its entry is
// led to a finder of ours, which answers for carried code and passes every
// other question on: to the finder of an earlier hotpatch, and at last to the
// instructions that the jump displaced.
//
// The function and struct dwarf_eh_bases { void *tbase, *dbase, *func; } are an
// interface of GCC since 3.0 (unwind-dw2-fde.h, symbol version GCC_3.0).

// Frame is one function of carried code, by run-time addresses.
type Frame struct {
	Lo  uint64 // of its first instruction
	FDE uint64 // of its entry in the carried .eh_frame
}

// Frames lists the functions that an .eh_frame describes, by address. eh is at
// the run-time address at, with its relocations done. It must have the form that
// docs/FORMAT.md asks for: finder reads it without looking.
func Frames(eh []byte, at uint64) ([]Frame, error) {
	fdes, err := image.FDEs(eh, image.Addr(at))
	if err != nil {
		return nil, fmt.Errorf("decode unwind data: %w", err)
	}
	le := binary.LittleEndian
	var out []Frame
	for off := uint64(0); off+16 <= uint64(len(eh)); {
		size := uint64(le.Uint32(eh[off:]))
		if size == 0 {
			break
		}
		if size >= 1<<31 || size+4 > uint64(len(eh))-off {
			return nil, fmt.Errorf("decode unwind data: entry at offset %#x has an unusual length", off)
		}
		if id := le.Uint32(eh[off+4:]); id != 0 {
			if size < 12 {
				return nil, fmt.Errorf("decode unwind data: entry at offset %#x is too short", off)
			}
			lo := at + off + 8 + uint64(int64(int32(le.Uint32(eh[off+8:]))))
			hi := lo + uint64(le.Uint32(eh[off+12:]))
			i, ok := slices.BinarySearchFunc(fdes, lo, func(f image.FDE, lo uint64) int { return cmp.Compare(uint64(f.Lo), lo) })
			if !ok || uint64(fdes[i].Hi) != hi {
				return nil, fmt.Errorf("decode unwind data: entry at offset %#x is in no usual form", off)
			}
			out = append(out, Frame{lo, at + off})
		}
		off += 4 + size
	}
	if len(out) != len(fdes) {
		return nil, fmt.Errorf("decode unwind data: %d entries, but %d functions", len(out), len(fdes))
	}
	slices.SortFunc(out, func(a, b Frame) int { return cmp.Compare(a.Lo, b.Lo) })
	return out, nil
}

// Displaced is how many bytes of the function that starts with code are
// displaced when its entry (see arch.EntryOffset) is led elsewhere: whole
// instructions. Refused (error): what cannot be moved, and a branch back.
func Displaced(code []byte) (offset, n int, err error) {
	offset = arch.EntryOffset(code)
	for n < arch.JumpSize {
		in, err := arch.Decode(code[offset+n:])
		if err != nil {
			return 0, 0, fmt.Errorf("displace instructions at offset %#x: %w", offset+n, err)
		}
		switch {
		case in.Rel, in.IsIndirect(), !in.FallsThrough():
			return 0, 0, fmt.Errorf("displace instructions: a branch at offset %#x", offset+n)
		case in.Base == arch.RIP && (in.DispLen != 4 || in.Addr32):
			return 0, 0, fmt.Errorf("displace instructions: an unusual operand at offset %#x", offset+n)
		}
		n += int(in.Len)
	}
	if at, found, err := arch.BranchInto(code, offset, offset+n); err != nil {
		return 0, 0, fmt.Errorf("displace instructions: %w", err)
	} else if found {
		return 0, 0, fmt.Errorf("displace instructions: the branch at offset %#x leads among them", at)
	}
	return offset, n, nil
}

// move copies whole instructions from one address to another.
func move(code []byte, from, to uint64) ([]byte, error) {
	out := slices.Clone(code)
	for at := 0; at < len(code); {
		in, err := arch.Decode(code[at:])
		if err != nil {
			return nil, err
		}
		field := -1
		switch {
		case in.Rel:
			return nil, fmt.Errorf("move instructions: a branch at %#x", from+uint64(at))
		case in.Base == arch.RIP && in.DispLen == 4:
			field = at + int(in.DispOff)
		}
		if field >= 0 {
			target, _ := in.Target(from+uint64(at), code[at:])
			d := int64(target - (to + uint64(at) + uint64(in.Len)))
			if d != int64(int32(d)) {
				return nil, fmt.Errorf("move instructions: what %#x refers to: %w", from+uint64(at), ErrRange)
			}
			binary.LittleEndian.PutUint32(out[field:], uint32(d))
		}
		at += int(in.Len)
	}
	return out, nil
}

// Finder is the code that answers for carried code, and its places.
type Finder struct {
	Data    []byte // to be written at the address it was made for
	Stub    uint64 // where the entry's jump goes
	Miss    uint64 // 5 bytes: the jump for questions about other code
	Copy    uint64 // the displaced instructions, and a jump back: where the last Miss goes
	EHFrame uint64 // unwind data of the stub
	EHSize  uint64
}

const (
	finderAlign = 16
	frameSize   = 16 // of an entry of the table
)

// FinderSize is an upper bound of the bytes of a finder.
func FinderSize(frames, displaced int) uint64 {
	return uint64(len(finderCode)+len(finderFrames)+displaced+(frames+1)*frameSize) + 8*finderAlign
}

// finderCode is: for pc (rdi) find the last entry of the table that starts at or
// before it; when pc is within the range of the FDE there (its fourth word),
// fill in bases (rsi) and return the FDE. It uses no stack. Two fields are
// filled in: the number of entries and the distance to the table. The branches to
// miss know where that is: at the next multiple of 16.
var finderCode = []byte{
	0x31, 0xc9, // xor    %ecx,%ecx            lo = 0
	0xba, 0, 0, 0, 0, // mov    $n,%edx              hi = n
	0x4c, 0x8d, 0x05, 0, 0, 0, 0, // lea    table(%rip),%r8
	// again:
	0x39, 0xd1, // cmp    %edx,%ecx
	0x73, 0x1b, // jae    found
	0x8d, 0x04, 0x11, // lea    (%rcx,%rdx),%eax
	0xd1, 0xe8, // shr    %eax                 middle
	0x41, 0x89, 0xc1, // mov    %eax,%r9d
	0x49, 0xc1, 0xe1, 0x04, // shl    $4,%r9
	0x4b, 0x39, 0x3c, 0x08, // cmp    %rdi,(%r8,%r9)
	0x77, 0x05, // ja     above
	0x8d, 0x48, 0x01, // lea    1(%rax),%ecx
	0xeb, 0xe5, // jmp    again
	// above:
	0x89, 0xc2, // mov    %eax,%edx
	0xeb, 0xe1, // jmp    again
	// found:
	0x85, 0xc9, // test   %ecx,%ecx
	0x74, 0x3f, // je     miss
	0x48, 0xc1, 0xe1, 0x04, // shl    $4,%rcx
	0x4d, 0x8b, 0x4c, 0x08, 0xf0, // mov    -16(%r8,%rcx),%r9
	0x49, 0x8b, 0x44, 0x08, 0xf8, // mov    -8(%r8,%rcx),%rax
	0x48, 0x89, 0xfa, // mov    %rdi,%rdx
	0x4c, 0x29, 0xca, // sub    %r9,%rdx
	0x8b, 0x48, 0x0c, // mov    12(%rax),%ecx       size of the function
	0x48, 0x39, 0xca, // cmp    %rcx,%rdx
	0x73, 0x23, // jae    miss
	0x48, 0xc7, 0x06, 0, 0, 0, 0, // movq   $0,(%rsi)            tbase
	0x48, 0xc7, 0x46, 0x08, 0, 0, 0, 0, // movq   $0,8(%rsi)           dbase
	0x4c, 0x89, 0x4e, 0x10, // mov    %r9,16(%rsi)         func
	0xc3, // ret
	// miss: (aligned, so that the jump there is written in one piece)
}

const (
	finderCount = 3 // offset of n
	finderTable = 10
)

// finderFrames is an .eh_frame for the stub: the return address is on the top
// of the stack everywhere. Two fields are filled in.
var finderFrames = []byte{
	0x14, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0,
	0x14, 0, 0, 0, 0x1c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0,
}

const (
	finderFDE  = 24 // offset of the stub's entry
	finderLo   = 32
	finderSpan = 36
)

// NewFinder makes the finder for address at (a multiple of 16). entry is where
// the unwinder's function gets its jump and displaced what was there. next: the
// finder before this one, 0 for none.
func NewFinder(at uint64, frames []Frame, entry uint64, displaced []byte, next uint64) (*Finder, error) {
	if at%finderAlign != 0 || len(frames) >= 1<<27 {
		return nil, errors.New("make finder: no place for it")
	}
	le := binary.LittleEndian
	up := func(n int) int { return (n + finderAlign - 1) &^ (finderAlign - 1) }
	stub := up(len(finderFrames))
	miss := up(stub + len(finderCode))
	orig := miss + finderAlign
	table := up(orig + len(displaced) + arch.JumpSize)
	f := &Finder{
		Data: make([]byte, table+(len(frames)+1)*frameSize),
		Stub: at + uint64(stub), Miss: at + uint64(miss), Copy: at + uint64(orig), EHFrame: at, EHSize: uint64(len(finderFrames)),
	}
	fill(f.Data, 0xcc)
	copy(f.Data, finderFrames)
	le.PutUint32(f.Data[finderLo:], uint32(stub-finderLo))
	le.PutUint32(f.Data[finderSpan:], uint32(miss+arch.JumpSize-stub))
	all := append(slices.Clone(frames), Frame{f.Stub, at + finderFDE})
	slices.SortFunc(all, func(a, b Frame) int { return cmp.Compare(a.Lo, b.Lo) })
	for i, x := range all {
		le.PutUint64(f.Data[table+i*frameSize:], x.Lo)
		le.PutUint64(f.Data[table+i*frameSize+8:], x.FDE)
	}
	copy(f.Data[stub:], finderCode)
	le.PutUint32(f.Data[stub+finderCount:], uint32(len(all)))
	le.PutUint32(f.Data[stub+finderTable:], uint32(table-(stub+finderTable+4)))
	moved, err := move(displaced, entry, f.Copy)
	if err != nil {
		return nil, fmt.Errorf("make finder: %w", err)
	}
	copy(f.Data[orig:], moved)
	back := orig + len(moved)
	if next == 0 {
		next = f.Copy
	}
	for _, j := range []struct {
		at int
		to uint64
	}{{miss, next}, {back, entry + uint64(len(displaced))}} {
		b, err := arch.Jump(at+uint64(j.at), j.to)
		if err != nil {
			return nil, fmt.Errorf("make finder: %w: %w", ErrRange, err)
		}
		copy(f.Data[j.at:], b[:])
	}
	return f, nil
}
