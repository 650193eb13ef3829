package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"hotpatch/internal/arch"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// ErrWide says that a function cannot be led elsewhere by changing one of its
// instructions alone.
var ErrWide = errors.New("more than one instruction would change")

// Through is how the entry of a function is led to padding, and from there to
// the code that takes over, by a short jump in its Skip-th byte. The bytes
// before that are pushes of one byte each, which are carried out first, and
// undone in the padding.
type Through struct {
	Skip int
	Size int // bytes of padding that it takes, a multiple of JumpSize
}

const (
	shortJump  = 2            // length of jmp rel8
	shortReach = 128          // how far it goes back
	entryMost  = 4 + JumpSize // of an entry with endbr64, and of the jump
)

// Narrow finds how the function that starts with code can be led elsewhere with
// no bytes changed but those of one instruction. Then nobody can ever be between
// them, whatever the threads do: instructions are carried out or not. direct: the
// first one has room for the jump itself. ErrWide: there is none.
func Narrow(code []byte) (t Through, direct bool, err error) {
	for ; ; t.Skip++ {
		in, err := arch.Decode(code[t.Skip:])
		switch {
		case err != nil:
			return t, false, fmt.Errorf("decode entry: %w", err)
		case !atomic(in):
			return t, false, fmt.Errorf("%w: one can be interrupted half way", ErrWide)
		case in.Len >= JumpSize && t.Skip == 0:
			return t, true, nil
		case in.Len >= shortJump:
			if t.Size = JumpSize; t.Skip > 0 {
				t.Size = 2 * JumpSize
			}
			return t, false, nil
		case code[t.Skip]&0xf8 != 0x50 || code[t.Skip] == 0x54 || t.Skip+1+shortJump > JumpSize:
			return t, false, fmt.Errorf("%w: the first ones have one byte", ErrWide)
		}
	}
}

// PaddingNear finds padding between functions for what Narrow has found at a base
// address: on the same page and in reach of a short jump. Nothing in the image
// leads into it, nor into the entry behind its start. ErrWide: there is none.
func PaddingNear(img *image.Image, at image.Addr, t Through) (image.Addr, error) {
	from := at + image.Addr(t.Skip) + shortJump
	page := at &^ (patch.PageSize - 1)
	size := image.Addr(t.Size)
	for _, s := range img.Sections {
		if s.Name == "__patchable_function_entries" {
			return 0, fmt.Errorf("%w: padding is for others to use", ErrWide)
		}
	}
	if hi := from; referred(img, image.Range{Lo: at + 1, Hi: hi}, hi) {
		return 0, fmt.Errorf("%w: something leads behind the entry", ErrWide)
	}
	for _, g := range img.Gaps() {
		pos := max(g.Lo, page)
		// The jump at the entry of a small function before it takes of the padding.
		if f := img.FuncAt(g.Lo - 1); f != nil {
			pos = max(pos, f.Lo+entryMost)
		}
		if pos+shortReach < from {
			pos = from - shortReach
		}
		if pos+size > min(g.Hi, page+patch.PageSize) || pos >= from+shortReach {
			continue
		}
		if padding(img, g) && !referred(img, g, pos+size) {
			return pos, nil
		}
	}
	return 0, fmt.Errorf("%w: no padding is in reach of a short jump", ErrWide)
}

// Detour makes jumps of one: a short one from the entry to padding at a run-time
// address, which holds held now, and from there the one to the code that takes
// over. They are in the order in which they must be written.
func Detour(e Entry, t Through, pad uint64, held []byte) ([]Entry, error) {
	d := int64(pad - e.Addr - uint64(t.Skip) - shortJump)
	if d != int64(int8(d)) || len(held) != t.Size || t.Skip+shortJump > JumpSize {
		return nil, fmt.Errorf("lead entry at %#x through padding at %#x: %w", e.Addr, pad, ErrRange)
	}
	short := e
	short.New = e.Old
	short.New[t.Skip], short.New[t.Skip+1] = 0xeb, byte(d)
	undo := []Entry{}
	if t.Skip > 0 {
		// lea 8*skip(%rsp), %rsp: what was pushed is still in its register, and
		// no flag changes.
		undo = append(undo, Entry{
			Addr: pad, Old: [JumpSize]byte(held), New: [JumpSize]byte{0x48, 0x8d, 0x64, 0x24, byte(8 * t.Skip)}, Site: e.Site,
		})
		pad, held = pad+JumpSize, held[JumpSize:]
	}
	to := e.Addr + JumpSize + uint64(int64(int32(binary.LittleEndian.Uint32(e.New[1:]))))
	long := Entry{Addr: pad, Old: [JumpSize]byte(held), Site: e.Site}
	var err error
	if long.New, err = arch.Jump(pad, to); err != nil {
		return nil, fmt.Errorf("lead entry at %#x through padding at %#x: %w: %w", e.Addr, pad, ErrRange, err)
	}
	return slices.Concat([]Entry{long}, undo, []Entry{short}), nil
}

// atomic says whether an instruction is never left and entered again half
// done. String instructions with a repeat prefix, gathers and tile loads are:
// the rest of the state is in registers, and would get lost. So would that of
// a system call, which the kernel begins anew by setting rip back.
func atomic(in arch.Inst) bool {
	switch {
	case in.Vector:
		return in.Map != 2
	case in.Map == 0:
		op := in.Op
		isString := op >= 0xa4 && op <= 0xa7 || op >= 0xaa && op <= 0xaf || op >= 0x6c && op <= 0x6f
		return !isString && op != 0xcd
	case in.Map == 1:
		return in.Op != 0x05 && in.Op != 0x34
	}
	return true
}

// filler says whether code is nops and int3 alone: zeros may be data.
func filler(code []byte) bool {
	for len(code) > 0 {
		in, err := arch.Decode(code)
		if err != nil || code[0] == 0 || arch.Padding(code[:in.Len]) != int(in.Len) {
			return false
		}
		code = code[in.Len:]
	}
	return true
}

// padding says whether a gap is what the linker or the assembler left between
// two functions: filler right behind the end of a function with unwind data
// whose last instruction leads elsewhere, or is a call that does not return.
func padding(img *image.Image, g image.Range) bool {
	if !filler(img.Bytes(g.Lo, int(g.Hi-g.Lo))) {
		return false
	}
	f := img.FuncAt(g.Lo - 1)
	if f == nil || f.Hi != g.Lo || f.Source != image.FromFDE {
		return false
	}
	falls := true
	at := f.Lo
	for code := img.Bytes(f.Lo, int(f.Hi-f.Lo)); len(code) > 0; {
		in, err := arch.Decode(code)
		if err != nil {
			return false
		}
		falls = in.FallsThrough()
		if len(code) == int(in.Len) && in.IsCall() {
			falls = !neverReturns(img, in, at, code)
		}
		code, at = code[in.Len:], at+image.Addr(in.Len)
	}
	return !falls
}

// noReturn are functions that compilers put a call of at the end of others.
var noReturn = map[string]bool{
	"__stack_chk_fail": true, "__stack_chk_fail_local": true, "__fortify_fail": true, "__chk_fail": true,
	"abort": true, "exit": true, "_exit": true, "__assert_fail": true,
	"_Unwind_Resume": true, "__cxa_throw": true, "__cxa_rethrow": true, "_ZSt9terminatev": true,
}

// neverReturns says whether the instruction at an address calls one of them.
func neverReturns(img *image.Image, in arch.Inst, at image.Addr, code []byte) bool {
	t, ok := in.Target(uint64(at), code)
	if !ok {
		return false
	}
	to := image.Addr(t)
	if !in.Rel { // through a slot
		r := img.RelocAt(to)
		return r != nil && noReturn[r.Sym]
	}
	if i, ok := img.PLTName(to); ok {
		return noReturn[i.Name]
	}
	f := img.FuncAt(to)
	return f != nil && f.Lo == to && slices.ContainsFunc(f.Names, func(n string) bool { return noReturn[n] })
}

// referred says whether anything may lead into a gap, or a part of a function,
// before hi: an instruction with a branch or an address, of whatever function; a
// relocation; a symbol. All bytes of the image's code are tried as distances,
// and what is one is looked at closely; short branches are looked for nearby.
func referred(img *image.Image, gap image.Range, hi image.Addr) bool {
	r := image.Range{Lo: gap.Lo, Hi: hi}
	if img.Unkept() != nil {
		return true // it holds addresses, and nobody knows which of its numbers they are
	}
	for i := range img.Kept {
		if has(r, img.Kept[i].Target) {
			return true
		}
	}
	for i := range img.Relocs {
		if has(r, image.Addr(img.Relocs[i].Add)) || has(r, img.Relocs[i].SymAddr) {
			return true
		}
	}
	for i := range img.Symbols {
		// The end of a section or a function has a symbol now and then.
		if a := img.Symbols[i].Addr; has(r, a) && (a != r.Lo || img.FuncAt(a) != nil) {
			return true
		}
	}
	near := func(lo, hi image.Addr) bool { return hi+shortReach >= r.Lo && lo <= r.Hi+shortReach }
	gaps := img.Gaps()
	for _, g := range gaps {
		if near(g.Lo, g.Hi) && leads(img, g, r) { // it may be code that nothing describes
			return true
		}
	}
	for _, f := range img.Funcs {
		if near(f.Lo, f.Hi) && leads(img, image.Range{Lo: f.Lo, Hi: f.Hi}, r) {
			return true
		}
	}
	for _, s := range img.Sections {
		if (s.Class == image.Text || s.Class == image.PLT) && distances(img, s, gaps, r) {
			return true
		}
	}
	return false
}

// distances says whether 4 bytes of a section are the distance from their end to
// the range, and not only by chance: as parts of instructions that are known.
func distances(img *image.Image, s *image.Section, gaps []image.Range, r image.Range) bool {
	for i := 0; i+4 <= len(s.Data); i++ {
		at := s.Addr + image.Addr(i)
		if !has(r, at+4+image.Addr(int64(int32(binary.LittleEndian.Uint32(s.Data[i:]))))) {
			continue
		}
		if f := img.FuncAt(at); f != nil && at+4 <= f.Hi && !leads(img, image.Range{Lo: f.Lo, Hi: f.Hi}, r) {
			continue
		}
		k, ok := slices.BinarySearchFunc(gaps, at, func(g image.Range, at image.Addr) int {
			switch {
			case g.Hi <= at:
				return -1
			case g.Lo > at:
				return 1
			}
			return 0
		})
		if ok && at+4 <= gaps[k].Hi && filler(img.Bytes(gaps[k].Lo, int(gaps[k].Hi-gaps[k].Lo))) {
			continue
		}
		return true
	}
	return false
}

// leads says whether an instruction of some code refers to the range. Code that
// does not decode may.
func leads(img *image.Image, c, r image.Range) bool {
	at := c.Lo
	for code := img.Bytes(c.Lo, int(c.Hi-c.Lo)); len(code) > 0; {
		in, err := arch.Decode(code)
		if err != nil {
			return true
		}
		if t, ok := in.Target(uint64(at), code); ok && has(r, image.Addr(t)) {
			return true
		}
		code, at = code[in.Len:], at+image.Addr(in.Len)
	}
	return false
}

func has(r image.Range, a image.Addr) bool { return a >= r.Lo && a < r.Hi }
