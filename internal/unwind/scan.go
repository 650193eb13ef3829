package unwind

import (
	"bytes"
	"encoding/binary"
	"io"
	"sort"
)

// Range is [Lo, Hi) of run-time addresses.
type Range struct{ Lo, Hi uint64 }

// Scan looks for a word that is a return address into one of the ranges (sorted,
// without overlap) among the memory that begins at sp: at is where the first one
// is. Words are 8 bytes at addresses that are multiples of 8. A word that equals
// Hi counts: it is the return address of a last call that does not return.
//
// It is the quick, conservative look at a stack: without a hit no return
// address on it leads into the ranges; a hit may be a stale slot, and Frames
// decides. It says nothing of stacks that are not in the memory, such as the
// one below a handler on an alternate stack: let the range of the signal
// trampoline be among the ranges.
func Scan(words []byte, sp uint64, ranges []Range) (hit bool, at uint64) {
	if len(ranges) == 0 {
		return false, 0
	}
	lo := ranges[0].Lo
	span := ranges[len(ranges)-1].Hi - lo
	skip := -sp & 7
	if skip > uint64(len(words)) {
		return false, 0
	}
	words, sp = words[skip:], sp+skip
	for i := 0; i+8 <= len(words); i += 8 {
		v := binary.LittleEndian.Uint64(words[i:])
		if v-lo <= span && returnsInto(ranges, v) {
			return true, sp + uint64(i)
		}
	}
	return false, 0
}

// returnsInto says whether v is in one of the sorted ranges or at its end.
func returnsInto(ranges []Range, v uint64) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].Hi >= v })
	return i < len(ranges) && v >= ranges[i].Lo
}

// Trampolines finds what looks like a signal trampoline in code that is at addr:
// the system call rt_sigreturn (15). glibc's has unwind data that says so, those
// of musl and the Go runtime have none, and the frames below their handlers are
// on another stack: let Scan look for these ranges too, and Frames then decide
// (it cannot read past a trampoline without unwind data, so the thread is busy
// as long as the handler runs).
//
// A match in the middle of other instructions does no harm. The ranges begin a
// little earlier than the system call is set up, for a nop or endbr64 there.
func Trampolines(code []byte, addr uint64) []Range {
	const before = 16
	// mov $15,%eax has this tail too, behind its opcode b8; mov $15,%rax is
	// 48 c7 c0.
	const tail = "\x0f\x00\x00\x00\x0f\x05" // the number; syscall
	var out []Range
	for end := 0; ; {
		// The last byte is the rarest in code. To look for it alone is five times
		// as fast as to look for all of them.
		n := bytes.IndexByte(code[end:], tail[len(tail)-1])
		if n < 0 {
			return out
		}
		end += n + 1
		i := end - len(tail)
		if i < 0 || string(code[i:end]) != tail {
			continue
		}
		if i > 0 && code[i-1] == 0xb8 || i > 2 && string(code[i-3:i]) == "\x48\xc7\xc0" {
			at := addr + uint64(i)
			r := Range{Lo: at - min(at, before), Hi: at + uint64(len(tail))}
			if k := len(out); k > 0 && out[k-1].Hi > r.Lo {
				out[k-1].Hi = r.Hi
			} else {
				out = append(out, r)
			}
		}
	}
}

// Window is memory that was read in one piece, as a reader at run-time
// addresses. What is outside of it is read from Else.
type Window struct {
	Base  uint64
	Bytes []byte
	Else  io.ReaderAt // nil: nothing else can be read
}

// ReadAt reads from Bytes when p is wholly in it, and from Else when not.
func (w *Window) ReadAt(p []byte, addr int64) (int, error) {
	off := uint64(addr) - w.Base
	if n := uint64(len(w.Bytes)); off <= n && uint64(len(p)) <= n-off {
		return copy(p, w.Bytes[off:]), nil
	}
	if w.Else == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return w.Else.ReadAt(p, addr)
}

// word is ReadAt of 8 bytes for what is in Bytes.
func (w *Window) word(addr uint64) (uint64, bool) {
	off := addr - w.Base
	if n := uint64(len(w.Bytes)); n < 8 || off > n-8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(w.Bytes[off:]), true
}
