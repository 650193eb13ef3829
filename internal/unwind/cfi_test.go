package unwind_test

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/unwind"
)

// Registers by DWARF number.
const (
	rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp = 0, 1, 2, 3, 4, 5, 6, 7
	r8, r10, r12                           = 8, 10, 12
)

// The program of every gcc CIE: CFA = rsp+8, return address at CFA-8.
var gcc = image.CIE{CodeAlign: 1, DataAlign: -8, ReturnReg: 16, Program: []byte{0x0c, rsp, 8, 0x90, 1, 0, 0}}

var signal = image.CIE{CodeAlign: 1, DataAlign: -8, ReturnReg: 16, SignalFrame: true, Program: gcc.Program}

// fn describes code at file addresses [lo, hi).
func fn(lo, hi image.Addr, c *image.CIE, program ...byte) image.FDE {
	return image.FDE{Lo: lo, Hi: hi, CIE: c, Program: program}
}

const bias = 0x7f0000000000

// space is one module with the functions, loaded at bias.
func space(t testing.TB, fdes ...image.FDE) *unwind.Space {
	t.Helper()
	s, err := unwind.NewSpace([]unwind.Module{{Name: "victim", Lo: bias, Hi: bias + 0x100000, Bias: bias, Table: &unwind.Table{FDEs: fdes}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// words is a stack that begins at 0x10000.
const stackAt = 0x10000

func words(ws ...uint64) *unwind.Window {
	b := make([]byte, 0, 8*len(ws))
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return &unwind.Window{Base: stackAt, Bytes: b}
}

// The stack used below: word i is 0xA0 + i, unless it is told otherwise.
func plain() *unwind.Window {
	ws := make([]uint64, 32)
	for i := range ws {
		ws[i] = 0xA0 + uint64(i)
	}
	return words(ws...)
}

func TestProgramsRestoreTheCallersRegisters(t *testing.T) {
	for _, c := range []struct {
		name    string
		program []byte
		at      uint64 // offset of the pc in the function
		regs    map[int]uint64
		want    map[int]uint64 // rip is named by hand, rsp is the CFA
	}{
		{"at the entry", []byte{0x41, 0x0e, 16}, 0, nil, map[int]uint64{16: 0xA0, rsp: stackAt + 8}},
		{"after a push", []byte{0x41, 0x0e, 16, 0x83, 2}, 1, nil, map[int]uint64{16: 0xA1, rsp: stackAt + 16, rbx: 0xA0}},
		{"between advances", []byte{0x44, 0x0e, 16, 0x44, 0x0e, 24}, 7, nil, map[int]uint64{16: 0xA1, rsp: stackAt + 16}},
		{"advance by 1, 2 and 4 bytes", []byte{0x02, 4, 0x03, 0, 1, 0x04, 0, 0, 1, 0, 0x0e, 32}, 0x10104, nil, map[int]uint64{16: 0xA3}},
		{"advance to 1 byte before", []byte{0x02, 4, 0x03, 0, 1, 0x04, 0, 0, 1, 0, 0x0e, 32}, 0x10103, nil, map[int]uint64{16: 0xA0}},
		{"frame pointer", []byte{0x0e, 16, 0x86, 2, 0x0d, rbp}, 0, map[int]uint64{rbp: stackAt + 64}, map[int]uint64{16: 0xA9, rsp: stackAt + 80, rbp: 0xA8}},
		{"def_cfa_sf", []byte{0x12, rsp, 0x7e}, 0, nil, map[int]uint64{16: 0xA1, rsp: stackAt + 16}},
		{"def_cfa_offset_sf", []byte{0x13, 0x7d}, 0, nil, map[int]uint64{16: 0xA2}},
		{"offset_extended", []byte{0x0e, 32, 0x05, r12, 3}, 0, nil, map[int]uint64{16: 0xA3, r12: 0xA1}},
		{"offset_extended_sf below and above", []byte{0x0e, 16, 0x11, rbx, 2, 0x11, r12, 0x7f}, 0, nil, map[int]uint64{rbx: 0xA0, r12: 0xA3}},
		{"negative_offset_extended", []byte{0x0e, 16, 0x2f, r12, 1}, 0, nil, map[int]uint64{r12: 0xA3}},
		{"restore", []byte{0x83, 2, 0x41, 0xc3}, 1, map[int]uint64{rbx: 7}, map[int]uint64{rbx: 7}},
		{"restore_extended", []byte{0x83, 2, 0x41, 0x06, rbx}, 1, map[int]uint64{rbx: 7}, map[int]uint64{rbx: 7}},
		{"remembered state", []byte{0x0e, 24, 0x0a, 0x41, 0x0e, 8, 0x83, 2, 0x41, 0x0b}, 2, map[int]uint64{rbx: 7}, map[int]uint64{16: 0xA2, rbx: 7}},
		{"in the middle of remembered state", []byte{0x0e, 24, 0x0a, 0x41, 0x0e, 8, 0x0b, 0x0a, 0x41, 0x0b}, 1, nil, map[int]uint64{16: 0xA2}},
		{"register", []byte{0x09, rbx, rdi}, 0, map[int]uint64{rdi: 9}, map[int]uint64{rbx: 9}},
		{"return address in a register, as in vfork", []byte{0x0e, 0, 0x09, 16, rdi}, 0, map[int]uint64{rdi: 0x1234}, map[int]uint64{16: 0x1234, rsp: stackAt}},
		{"val_offset", []byte{0x0e, 32, 0x14, rbx, 2}, 0, nil, map[int]uint64{rbx: stackAt + 16}},
		{"val_offset_sf", []byte{0x0e, 32, 0x15, rbx, 0x7e}, 0, nil, map[int]uint64{rbx: stackAt + 48}},
		{"expression", []byte{0x0e, 16, 0x10, rbx, 2, 0x77, 0x18}, 0, nil, map[int]uint64{rbx: 0xA3}},
		{"expression from the CFA", []byte{0x0e, 16, 0x10, rbx, 2, 0x23, 8}, 0, nil, map[int]uint64{rbx: 0xA3}},
		{"val_expression", []byte{0x0e, 16, 0x16, rbx, 2, 0x23, 8}, 0, nil, map[int]uint64{rbx: stackAt + 24}},
		{"realigned stack: *(rbp-8) is the CFA", []byte{0x0f, 3, 0x76, 0x78, 0x06}, 0, map[int]uint64{rbp: stackAt + 8}, nil},
		{"args_size, nops and vector registers", []byte{0x2e, 0x80, 1, 0, 0x05, 40, 3, 0x0e, 16}, 0, nil, map[int]uint64{16: 0xA1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := plain()
			if c.want == nil { // the realigned stack
				mem = words(stackAt+24, 0, 0x99, 0)
				c.want = map[int]uint64{16: 0x99, rsp: stackAt + 24}
			}
			s := space(t, fn(0x1000, 0x20000, &gcc, c.program...))
			regs := unwind.Regs{rsp: stackAt, 16: bias + 0x1000 + c.at}
			for r, v := range c.regs {
				regs[r] = v
			}
			got, known, err := unwind.Step(s, regs, mem)
			if err != nil {
				t.Fatal(err)
			}
			for r, v := range c.want {
				if got[r] != v || known&(1<<r) == 0 {
					t.Errorf("register %d: got %#x, want %#x (known %#x)", r, got[r], v, known)
				}
			}
			if known&(1<<rax|1<<r8|1<<r10) != 0 {
				t.Errorf("knows registers that the call may have changed: %#x", known)
			}
		})
	}
}

func TestBadProgramsAreErrors(t *testing.T) {
	def := func(c image.CIE, program ...byte) *image.CIE { c.Program = program; return &c }
	for _, c := range []struct {
		name    string
		cie     *image.CIE
		program []byte
		want    string
	}{
		{"unknown instruction", &gcc, []byte{0x3f}, "unknown unwind instruction 0x3f"},
		{"set_loc", &gcc, []byte{0x01, 0, 0, 0, 0, 0, 0, 0, 0}, "unknown unwind instruction 0x01"},
		{"cut off number", &gcc, []byte{0x0e, 0x80}, "cut off"},
		{"cut off advance", &gcc, []byte{0x04, 1, 2}, "cut off"},
		{"cut off offset", &gcc, []byte{0x83}, "cut off"},
		{"endless number", &gcc, []byte{0x0e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, "cut off"},
		{"huge offset", &gcc, []byte{0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, "more than 2 GiB"},
		{"huge factored offset", &gcc, []byte{0x83, 0xff, 0xff, 0xff, 0xff, 0x07}, "more than 2 GiB"},
		{"expression past the end", &gcc, []byte{0x0f, 9, 0x77, 0}, "expression of 9 bytes"},
		{"empty expression", &gcc, []byte{0x0f, 0}, "expression of 0 bytes"},
		{"restore_state without remember_state", &gcc, []byte{0x0b}, "not remembered"},
		{"too many states", &gcc, slices.Repeat([]byte{0x0a}, 33), "more than 32"},
		{"half a CFA after an expression", &gcc, []byte{0x0f, 2, 0x77, 0, 0x0e, 16}, "no halves"},
		{"CFA from a vector register", &gcc, []byte{0x0d, 17}, "in register 17"},
		{"CFA from rip", &gcc, []byte{0x0d, 16}, "in rip"},
		{"value from a vector register", &gcc, []byte{0x09, 3, 17}, "in register 17"},
		{"same return address", &gcc, []byte{0x08, 16}, "no rule for the return address"},
		{"no rules at all", def(gcc), nil, "no rule for the return address"},
		{"no CFA", def(gcc, 0x90, 1), nil, "no rule for the frame address"},
		{"CIE that advances", def(gcc, 0x41), nil, "advances"},
		{"CIE that restores", def(gcc, 0xc3), nil, "restore in the program of a CIE"},
		{"other return column", &image.CIE{CodeAlign: 1, DataAlign: -8, ReturnReg: 17, Program: gcc.Program}, nil, "column 17"},
		{"CFA from a register that holds no address", &gcc, []byte{0x0d, rax}, "read at"},
		{"division by 0", &gcc, []byte{0x0f, 3, 0x30, 0x30, 0x1b}, "divides by 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := space(t, fn(0x1000, 0x2000, c.cie, c.program...))
			pcs, err := s.Stack(unwind.Regs{rsp: stackAt, 16: bias + 0x1800}, plain())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "frame 0 at 0x7f0000001800") {
				t.Errorf("got %#x, %v, want an error with %q", pcs, err, c.want)
			}
		})
	}
}

// What was said before the fault still holds.
func TestRowsBeforeAFaultHold(t *testing.T) {
	s := space(t, fn(0x1000, 0x2000, &gcc, 0x44, 0x3f))
	regs := unwind.Regs{rsp: stackAt, 16: bias + 0x1003}
	if _, _, err := unwind.Step(s, regs, plain()); err != nil {
		t.Error(err)
	}
	regs[16]++
	if _, _, err := unwind.Step(s, regs, plain()); err == nil {
		t.Error("went on past an unknown instruction")
	}
}

func TestExpressions(t *testing.T) {
	const cfa = 100
	regs := unwind.Regs{rbx: 1000, 16: 0x40b}
	for _, c := range []struct {
		name string
		code []byte
		want uint64
	}{
		{"the CFA alone", nil, cfa},
		{"literals", []byte{0x30, 0x4f, 0x22}, 31},
		{"const1u const1s", []byte{0x08, 0xff, 0x09, 0xff, 0x22}, 254},
		{"const2u const2s", []byte{0x0a, 0xff, 0xff, 0x0b, 0xff, 0xff, 0x22}, 65534},
		{"const4u const4s", []byte{0x0c, 0xff, 0xff, 0xff, 0xff, 0x0d, 0xff, 0xff, 0xff, 0xff, 0x22}, 1<<32 - 2},
		{"const8u const8s", []byte{0x0e, 1, 0, 0, 0, 0, 0, 0, 1, 0x0f, 1, 0, 0, 0, 0, 0, 0, 0, 0x1c}, 1 << 56},
		{"constu consts", []byte{0x10, 0x80, 1, 0x11, 0x7f, 0x22}, 127},
		{"dup drop over", []byte{0x35, 0x12, 0x22, 0x33, 0x14, 0x22, 0x13, 0x13}, cfa},
		{"pick swap", []byte{0x31, 0x32, 0x33, 0x15, 2, 0x16, 0x1c}, 1<<64 - 2},
		{"rot", []byte{0x31, 0x32, 0x33, 0x17, 0x1c}, 1<<64 - 1}, // 1 2 3 → 3 1 2
		{"breg bregx", []byte{0x73, 0x7f, 0x92, rbx, 1, 0x22}, 2000},
		{"deref", []byte{0x0c, 0x08, 0, 1, 0, 0x06}, 0xA1},
		{"deref_size", []byte{0x0c, 0x08, 0, 1, 0, 0x94, 1}, 0xA1},
		{"abs neg not", []byte{0x35, 0x1f, 0x19, 0x20, 0x20}, 5},
		{"and or xor", []byte{0x3c, 0x3a, 0x1a, 0x31, 0x21, 0x3f, 0x27}, 6},
		{"div is signed", []byte{0x09, 0xf8, 0x32, 0x1b}, 1<<64 - 4},
		{"mod", []byte{0x39, 0x34, 0x1d}, 1},
		{"mul minus plus_uconst", []byte{0x35, 0x36, 0x1e, 0x31, 0x1c, 0x23, 0x80, 1}, 157},
		{"shl shr shra", []byte{0x09, 0xff, 0x34, 0x24, 0x34, 0x26, 0x08, 63, 0x25}, 1},
		{"shift by more than there is", []byte{0x31, 0x08, 200, 0x24}, 0},
		{"comparisons are signed", []byte{0x09, 0xff, 0x30, 0x2d, 0x30, 0x09, 0xff, 0x2b, 0x1a}, 1},
		{"eq ne le ge", []byte{0x31, 0x31, 0x29, 0x31, 0x32, 0x2e, 0x1a, 0x31, 0x31, 0x2c, 0x1a, 0x31, 0x31, 0x2a, 0x1a}, 1},
		{"skip", []byte{0x2f, 1, 0, 0x31}, cfa},
		{"bra taken", []byte{0x31, 0x28, 1, 0, 0x31}, cfa},
		{"bra not taken", []byte{0x30, 0x28, 1, 0, 0x31}, 1},
		{"loop", []byte{0x33, 0x31, 0x1c, 0x12, 0x28, 0xfa, 0xff}, 0},
		{"PLT stub, before its push", []byte{0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, 16},
		{"nop", []byte{0x96}, cfa},
	} {
		if got, err := unwind.Eval(c.code, cfa, regs, plain()); err != nil || got != c.want {
			t.Errorf("%s: got %#x, %v, want %#x", c.name, got, err, c.want)
		}
	}
}

func TestBadExpressionsAreErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		code []byte
		want string
	}{
		{"endless loop", []byte{0x2f, 0xfd, 0xff}, "more than 256 steps"},
		{"jump before the start", []byte{0x2f, 0xfc, 0xff}, "jumps out"},
		{"jump past the end", []byte{0x2f, 1, 0}, "jumps out"},
		{"nothing left", []byte{0x13}, "underflow"},
		{"too much", slices.Repeat([]byte{0x12}, 33), "overflow"},
		{"pick too deep", []byte{0x15, 1}, "flow"},
		{"operand missing", []byte{0x08}, "cut off"},
		{"branch cut off", []byte{0x2f, 0}, "cut off"},
		{"breg cut off", []byte{0x73}, "cut off"},
		{"one value for two", []byte{0x22}, "flow"},
		{"unknown", []byte{0xe0}, "unknown expression operation 0xe0"},
		{"call_frame_cfa", []byte{0x9c}, "unknown expression operation 0x9c"},
		{"addr", []byte{0x03, 0, 0, 0, 0, 0, 0, 0, 0}, "absolute address"},
		{"vector register", []byte{0x81, 0}, "register 17"},
		{"mod 0", []byte{0x30, 0x1d}, "divides by 0"},
		{"unreadable", []byte{0x06}, "read at 0x64"},
		{"kernel address", []byte{0x09, 0xff, 0x06}, "no user address"},
		{"odd size", []byte{0x94, 3}, "reads 3 bytes"},
	} {
		want := c.want
		if want == "underflow" || want == "overflow" {
			want = "under- or overflow"
		}
		if got, err := unwind.Eval(c.code, 100, unwind.Regs{}, plain()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %#x, %v, want an error with %q", c.name, got, err, want)
		}
	}
	if got, err := unwind.Eval([]byte{0x1b}, 0, unwind.Regs{}, plain()); err == nil {
		t.Errorf("got %#x", got)
	}
}

// Any program, expression and stack ends in a bounded list of frames, and
// twice the same.
func FuzzStack(f *testing.F) {
	f.Add(gcc.Program, []byte{0x41, 0x0e, 16, 0x83, 2}, make([]byte, 64), byte(1))
	f.Add(gcc.Program, []byte{0x0f, 3, 0x76, 0x78, 0x06, 0x0a, 0x41, 0x0b}, make([]byte, 64), byte(0))
	f.Add(gcc.Program, []byte{0x16, 3, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, make([]byte, 64), byte(0))
	f.Add(gcc.Program, []byte{0x10, 3, 7, 0x33, 0x31, 0x1c, 0x12, 0x28, 0xfa, 0xff}, make([]byte, 64), byte(3))
	f.Fuzz(func(t *testing.T, cie, fde, stack []byte, at byte) {
		c, sig := gcc, signal
		c.Program, sig.Program = cie, cie
		s := space(t, fn(0x1000, 0x1040, &c, fde...), fn(0x1040, 0x1080, &sig, fde...), fn(0x1080, 0x10c0, &gcc))
		// Make addresses in range likely.
		for i := 0; i+8 <= len(stack); i += 8 {
			switch v := binary.LittleEndian.Uint64(stack[i:]); v >> 56 {
			case 1:
				binary.LittleEndian.PutUint64(stack[i:], bias+0x1000+v&0xff)
			case 2:
				binary.LittleEndian.PutUint64(stack[i:], stackAt+v&0xff)
			}
		}
		mem := &unwind.Window{Base: stackAt, Bytes: stack}
		regs := unwind.Regs{rbx: stackAt, rbp: stackAt + 16, rsp: stackAt, 16: bias + 0x1000 + uint64(at)}
		pcs, err := s.Stack(regs, mem)
		if len(pcs) == 0 || len(pcs) > 10_001 {
			t.Fatalf("%d frames, %v", len(pcs), err)
		}
		again, err2 := s.Stack(regs, struct{ io.ReaderAt }{mem})
		if !slices.Equal(pcs, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%x, %v and then %x, %v", pcs, err, again, err2)
		}
		_, _ = unwind.Eval(fde, stackAt, regs, mem)
	})
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }
