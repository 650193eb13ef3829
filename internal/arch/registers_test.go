package arch_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"hotpatch/internal/arch"
	"hotpatch/internal/testkit"
)

// Whoever follows what registers hold relies on it: the processor executes every
// instruction that it knows, and changes no register that is not told.
func TestWritesTellsAllThatTheProcessorChanges(t *testing.T) {
	program := testkit.Compile(t, filepath.Join(t.TempDir(), "executes"), "-O1", "testdata/executes.c")
	var all []arch.Inst
	var bytes [][]byte
	var input strings.Builder
	seen := map[string]bool{}
	everyInstruction(func(b []byte) {
		in, err := arch.Decode(b)
		if err != nil || !executable(&in) || seen[string(b[:in.Len])] {
			return
		}
		b = b[:in.Len]
		seen[string(b)] = true
		rcx := 0
		if op := in.Op; in.Map == 0 && (op >= 0xa4 && op <= 0xaf || op >= 0x6c && op <= 0x6f) {
			rcx = 5 // how often it is repeated
		}
		fmt.Fprintln(&input, hex.EncodeToString(b), rcx)
		all, bytes = append(all, in), append(bytes, append([]byte{}, b...))
	})
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(input.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type kind struct {
		vector  bool
		mapp, o byte
	}
	kinds := map[kind]bool{}
	ran, unclear := 0, map[kind]bool{}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	n := 0
	for ; lines.Scan(); n++ {
		if lines.Text() == "-" {
			continue
		}
		mask, err := strconv.ParseUint(lines.Text(), 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		in := &all[n]
		is, told := arch.Registers(mask), in.Writes(bytes[n])
		is &^= 1 << arch.RSP // push and pop
		if more := is &^ told; more != 0 {
			t.Errorf("% x (map %d, opcode %02x) changes registers %#x, of which %#x are not told", bytes[n], in.Map, in.Op, is, more)
		}
		k := kind{in.Vector, in.Map, in.Op}
		kinds[k], ran = true, ran+1
		if told == arch.AllRegisters {
			unclear[k] = true
		}
	}
	if n != len(all) {
		t.Fatalf("%d of %d instructions were executed", n, len(all))
	}
	t.Logf("%d of %d instructions ran, of %d kinds, of which %d are not understood", ran, n, len(kinds), len(unclear))
	if len(kinds) < 400 || ran < 20000 {
		t.Errorf("only %d instructions of %d kinds ran", ran, len(kinds))
	}
}

// everyInstruction makes bytes that start with instructions of all opcodes, with
// operands in registers and in memory.
func everyInstruction(visit func(b []byte)) {
	tail := make([]byte, 15)
	tail[0] = 0x10 // displacement or immediate
	add := func(modrms, digits []byte, head ...byte) {
		for _, modrm := range modrms {
			for _, digit := range digits {
				b := append(append(append([]byte{}, head...), modrm|digit<<3), tail...)
				if modrm == 0x84 {
					b[len(head)+1] = 0x26 // SIB: (%rsi)
				}
				visit(b)
			}
		}
	}
	plain, digits := []byte{0x00, 0x84, 0xc1, 0xc6}, []byte{0, 1, 2, 3, 4, 5, 6, 7}
	vector, some := []byte{0x43, 0xc6}, []byte{0, 3, 6}
	maps := [][]byte{{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}}
	prefixes := [][]byte{{}, {0x66}, {0xf2}, {0xf3}, {0x40}, {0x4d}, {0xf3, 0x49}}
	for op := range 256 {
		for _, m := range maps {
			for _, p := range prefixes {
				add(plain, digits, append(append(append([]byte{}, p...), m...), byte(op))...)
			}
		}
		for pp := range byte(4) {
			for _, vvvv := range []byte{0x78, 0x40} { // none, or a register
				add(vector, some, 0xc5, 0x80|vvvv|pp, byte(op))
				add(vector, some, 0xc5, vvvv|pp, byte(op)) // R
				add(vector, some, 0xc5, 0x84|vvvv|pp, byte(op))
				for m := byte(1); m <= 3; m++ {
					for _, rxb := range []byte{0xe0, 0x40} {
						for _, w := range []byte{0, 0x80} {
							add(vector, some, 0xc4, rxb|m, w|vvvv|pp, byte(op))
							add(vector, some, 0x62, rxb|0x10|m, w|vvvv|4|pp, 0x08, byte(op))
							add(vector, some, 0x62, rxb|0x10|m, w|vvvv|4|pp, 0x48, byte(op))
						}
					}
				}
			}
		}
	}
}

// executable: it goes on behind itself, and changes nothing that the program that
// executes it needs.
func executable(in *arch.Inst) bool {
	switch {
	case in.Rel, in.IsIndirect(), !in.FallsThrough(), in.FS:
		return false
	case in.Vector:
		return true
	case in.Map == 0:
		switch in.Op {
		case 0x8e, 0x9d, 0xcc, 0xcd, 0xce, 0xf1: // segments, flags, interrupts
			return false
		}
	case in.Map == 1:
		switch in.Op {
		case 0x00, 0x01, 0x05, 0x34, 0xa1, 0xa9, 0xb2, 0xb4, 0xb5: // the state of the system, segments
			return false
		case 0xae:
			return in.ModRM >= 0xc0 && in.Reg() < 2
		case 0xc7:
			return in.ModRM >= 0xc0 || in.Reg() == 1
		}
	}
	return true
}
