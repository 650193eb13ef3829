package link

import (
	"cmp"
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

// ShortJump is the length of jmp rel8, and shortReach how far it goes back.
const (
	ShortJump  = 2
	shortReach = 128
)

// EntryRoom is how many bytes the instruction that code starts with has. If
// these alone change, nobody can ever be between them, whatever the threads do:
// instructions are carried out or not. ErrWide: not this one.
func EntryRoom(code []byte) (int, error) {
	in, err := arch.Decode(code)
	if err != nil {
		return 0, fmt.Errorf("decode entry: %w", err)
	}
	if !atomic(in) {
		return 0, fmt.Errorf("%w: the first one can be interrupted half way", ErrWide)
	}
	return int(in.Len), nil
}

// PaddingNear finds JumpSize bytes of padding between functions, on the same
// page as the entry at a base address and in reach of a short jump from there.
// Nothing in the image leads into them. ErrWide: there are none.
func PaddingNear(img *image.Image, at image.Addr) (image.Addr, error) {
	from := at + ShortJump
	page := at &^ (patch.PageSize - 1)
	for _, g := range img.Gaps() {
		pos := max(g.Lo, page)
		if pos+shortReach < from {
			pos = from - shortReach
		}
		if pos+JumpSize > min(g.Hi, page+patch.PageSize) || pos >= from+shortReach {
			continue
		}
		if padding(img, g) && !referred(img, g, pos+JumpSize) {
			return pos, nil
		}
	}
	return 0, fmt.Errorf("%w: no padding is in reach of a short jump", ErrWide)
}

// Detour makes two jumps of one: a short one from the entry to padding at a
// run-time address, which holds held now, and from there the one to the code
// that takes over. The second must be there before the first.
func Detour(e Entry, pad uint64, held [JumpSize]byte) (short, long Entry, err error) {
	d := int64(pad - e.Addr - ShortJump)
	if d != int64(int8(d)) {
		return e, e, fmt.Errorf("lead entry at %#x through padding at %#x: %w", e.Addr, pad, ErrRange)
	}
	to := e.Addr + JumpSize + uint64(int64(int32(binary.LittleEndian.Uint32(e.New[1:]))))
	long = Entry{Addr: pad, Old: held, Site: e.Site}
	if long.New, err = arch.Jump(pad, to); err != nil {
		return e, e, fmt.Errorf("lead entry at %#x through padding at %#x: %w: %w", e.Addr, pad, ErrRange, err)
	}
	short = e
	short.New = e.Old
	short.New[0], short.New[1] = 0xeb, byte(d)
	return short, long, nil
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

// padding says whether a gap is what the linker or the assembler left between
// two functions: nops and int3 alone (zeros may be data), right behind the end
// of a function with unwind data whose last instruction leads elsewhere.
func padding(img *image.Image, g image.Range) bool {
	for b := img.Bytes(g.Lo, int(g.Hi-g.Lo)); len(b) > 0; {
		in, err := arch.Decode(b)
		if err != nil || b[0] == 0 || arch.Padding(b[:in.Len]) != int(in.Len) {
			return false
		}
		b = b[in.Len:]
	}
	f := img.FuncAt(g.Lo - 1)
	if f == nil || f.Hi != g.Lo || f.Source != image.FromFDE || f.Hi-f.Lo < 2*JumpSize {
		return false // the jump at the entry of a small one would take the padding itself
	}
	falls := true
	for code := img.Bytes(f.Lo, int(f.Hi-f.Lo)); len(code) > 0; {
		in, err := arch.Decode(code)
		if err != nil {
			return false
		}
		falls = in.FallsThrough()
		code = code[in.Len:]
	}
	return !falls
}

// referred says whether anything may lead into a gap before hi: an instruction of
// a function nearby, with a branch or an address; anything elsewhere in the
// image's code that is the distance, at whatever offset; a relocation; a symbol.
func referred(img *image.Image, gap image.Range, hi image.Addr) bool {
	r := image.Range{Lo: gap.Lo, Hi: hi}
	for i := range img.Relocs {
		if has(r, image.Addr(img.Relocs[i].Add)) || has(r, img.Relocs[i].SymAddr) {
			return true
		}
	}
	for i := range img.Symbols {
		// The end of a section or a function has a symbol now and then.
		if a := img.Symbols[i].Addr; has(r, a) && a != r.Lo {
			return true
		}
	}
	known := []image.Range{gap} // by address
	for _, f := range img.Funcs {
		if f.Hi+patch.PageSize < r.Lo || f.Lo > r.Hi+patch.PageSize {
			continue
		}
		if leads(img, f, r) {
			return true
		}
		known = append(known, image.Range{Lo: f.Lo, Hi: f.Hi})
	}
	slices.SortFunc(known, func(a, b image.Range) int { return cmp.Compare(a.Lo, b.Lo) })
	for _, s := range img.Sections {
		if s.Class != image.Text && s.Class != image.PLT {
			continue
		}
		at, end := s.Addr, s.Addr+image.Addr(len(s.Data))
		for _, k := range known {
			if k.Lo >= at && k.Hi <= end {
				if holds(s, at, k.Lo, r) {
					return true
				}
				at = k.Hi
			}
		}
		if holds(s, at, end, r) {
			return true
		}
	}
	return false
}

// leads says whether an instruction of a function refers to the range. Code that
// does not decode may.
func leads(img *image.Image, f *image.Func, r image.Range) bool {
	at := f.Lo
	for code := img.Bytes(f.Lo, int(f.Hi-f.Lo)); len(code) > 0; {
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

// holds says whether 4 bytes anywhere in [lo, hi) of a section are the distance
// from their end to the range.
func holds(s *image.Section, lo, hi image.Addr, r image.Range) bool {
	if hi < lo+4 {
		return false
	}
	b := s.Data[lo-s.Addr : hi-s.Addr]
	for i := 0; i+4 <= len(b); i++ {
		end := lo + image.Addr(i) + 4
		if has(r, end+image.Addr(int64(int32(binary.LittleEndian.Uint32(b[i:]))))) {
			return true
		}
	}
	return false
}

func has(r image.Range, a image.Addr) bool { return a >= r.Lo && a < r.Hi }
