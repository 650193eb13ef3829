package arch_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/arch"
	"hotpatch/internal/testkit"
)

// shape is what a decoded instruction must look like: displacement and
// immediate as offset and length.
type shape struct {
	code     string
	text     string
	disp     [2]uint8
	imm      [2]uint8
	base     int8
	index    int8
	rel, vec bool
}

const (
	none = arch.NoReg
	rip  = arch.RIP
)

var shapes = []shape{
	{code: "90", text: "nop", base: none, index: none},
	{code: "c3", text: "ret", base: none, index: none},
	{code: "c21000", text: "ret $0x10", imm: [2]uint8{1, 2}, base: none, index: none},
	{code: "c8100002", text: "enter", imm: [2]uint8{1, 3}, base: none, index: none},
	{code: "6a7f", text: "push imm8", imm: [2]uint8{1, 1}, base: none, index: none},
	{code: "6878563412", text: "push imm32", imm: [2]uint8{1, 4}, base: none, index: none},
	{code: "66683412", text: "pushw imm16", imm: [2]uint8{2, 2}, base: none, index: none},
	{code: "b878563412", text: "mov $,%eax", imm: [2]uint8{1, 4}, base: none, index: none},
	{code: "66b83412", text: "mov $,%ax", imm: [2]uint8{2, 2}, base: none, index: none},
	{code: "48b8efcdab8967452301", text: "movabs", imm: [2]uint8{2, 8}, base: none, index: none},
	{code: "6648b8efcdab8967452301", text: "movabs behind 66", imm: [2]uint8{3, 8}, base: none, index: none},
	{code: "a18877665544332211", text: "movabs moffs", disp: [2]uint8{1, 8}, base: none, index: none},
	{code: "67a144332211", text: "addr32 moffs", disp: [2]uint8{2, 4}, base: none, index: none},
	{code: "6466a38877665544332211", text: "fs moffs ax", disp: [2]uint8{3, 8}, base: none, index: none},
	{code: "f6c001", text: "test $1,%al", imm: [2]uint8{2, 1}, base: none, index: none},
	{code: "f6d0", text: "not %al", base: none, index: none},
	{code: "f7c078563412", text: "test $,%eax", imm: [2]uint8{2, 4}, base: none, index: none},
	{code: "66f7c03412", text: "test $,%ax", imm: [2]uint8{3, 2}, base: none, index: none},
	{code: "6648f7c078563412", text: "66 loses against REX.W", imm: [2]uint8{4, 4}, base: none, index: none},
	{code: "f7f1", text: "div %ecx", base: none, index: none},
	{code: "66c7003412", text: "movw $,(%rax)", imm: [2]uint8{3, 2}, base: 0, index: none},
	{code: "c70478785634ff", text: "movl $,(%rax,%rdi,2)", imm: [2]uint8{3, 4}, base: 0, index: 7},
	{code: "48c7051000000001000000", text: "movq $1,0x10(%rip)", disp: [2]uint8{3, 4}, imm: [2]uint8{7, 4}, base: rip, index: none},
	{code: "803d1000000001", text: "cmpb $1,0x10(%rip)", disp: [2]uint8{2, 4}, imm: [2]uint8{6, 1}, base: rip, index: none},
	{code: "4a8b04ed10000000", text: "mov 0x10(,%r13,8),%rax", disp: [2]uint8{4, 4}, base: none, index: 13},
	{code: "418b442410", text: "mov 0x10(%r12),%eax", disp: [2]uint8{4, 1}, base: 12, index: none},
	{code: "418b4500", text: "mov 0(%r13),%eax", disp: [2]uint8{3, 1}, base: 13, index: none},
	{code: "428b0420", text: "mov (%rax,%r12),%eax", base: 0, index: 12},
	{code: "64488b042528000000", text: "mov %fs:0x28,%rax", disp: [2]uint8{5, 4}, base: none, index: none},
	{code: "8b802c010000", text: "mov 0x12c(%rax),%eax", disp: [2]uint8{2, 4}, base: 0, index: none},
	{code: "e800000000", text: "call", imm: [2]uint8{1, 4}, base: none, index: none, rel: true},
	{code: "666648e800000000", text: "call behind padding prefixes (TLS)", imm: [2]uint8{4, 4}, base: none, index: none, rel: true},
	{code: "67e800000000", text: "addr32 call", imm: [2]uint8{2, 4}, base: none, index: none, rel: true},
	{code: "f2e900000000", text: "bnd jmp", imm: [2]uint8{2, 4}, base: none, index: none, rel: true},
	{code: "ebfe", text: "jmp", imm: [2]uint8{1, 1}, base: none, index: none, rel: true},
	{code: "3e74fe", text: "je,pt", imm: [2]uint8{2, 1}, base: none, index: none, rel: true},
	{code: "0f8400000000", text: "je", imm: [2]uint8{2, 4}, base: none, index: none, rel: true},
	{code: "67e3fd", text: "jecxz", imm: [2]uint8{2, 1}, base: none, index: none, rel: true},
	{code: "c7f800000000", text: "xbegin", imm: [2]uint8{2, 4}, base: none, index: none, rel: true},
	{code: "c6f801", text: "xabort", imm: [2]uint8{2, 1}, base: none, index: none},
	{code: "ff2510000000", text: "jmp *0x10(%rip)", disp: [2]uint8{2, 4}, base: rip, index: none},
	{code: "f30f1efa", text: "endbr64", base: none, index: none},
	{code: "662e0f1f840000000000", text: "nopw %cs:", disp: [2]uint8{6, 4}, base: 0, index: 0},
	{code: "0f05", text: "syscall", base: none, index: none},
	{code: "0f0b", text: "ud2", base: none, index: none},
	{code: "0fb9c1", text: "ud1", base: none, index: none},
	{code: "0fa2", text: "cpuid", base: none, index: none},
	{code: "f30fa7c8", text: "rep xcrypt-ecb (PadLock)", base: none, index: none},
	{code: "0f20c0", text: "mov %cr0,%rax", base: none, index: none},
	{code: "0fa4c105", text: "shld $5", imm: [2]uint8{3, 1}, base: none, index: none},
	{code: "480fbae03f", text: "bt $63,%rax", imm: [2]uint8{4, 1}, base: none, index: none},
	{code: "0f0f4010b4", text: "pfmul 0x10(%rax) (3DNow!)", disp: [2]uint8{3, 1}, imm: [2]uint8{4, 1}, base: 0, index: none},
	{code: "660f78c00102", text: "extrq (SSE4a)", imm: [2]uint8{4, 2}, base: none, index: none},
	{code: "f20f78c10102", text: "insertq (SSE4a)", imm: [2]uint8{4, 2}, base: none, index: none},
	{code: "0f78c1", text: "vmread", base: none, index: none},
	{code: "660f70c11b", text: "pshufd", imm: [2]uint8{4, 1}, base: none, index: none},
	{code: "0fc2c101", text: "cmpps", imm: [2]uint8{3, 1}, base: none, index: none},
	{code: "660f3800c1", text: "pshufb", base: none, index: none},
	{code: "660f3a0fc108", text: "palignr", imm: [2]uint8{5, 1}, base: none, index: none},
	{code: "f20f38f1c1", text: "crc32", base: none, index: none},
	{code: "660f3a0f051000000008", text: "palignr 0x10(%rip)", disp: [2]uint8{5, 4}, imm: [2]uint8{9, 1}, base: rip, index: none},
	{code: "c5f877", text: "vzeroupper", base: none, index: none, vec: true},
	{code: "c5f9efc0", text: "vpxor", base: none, index: none, vec: true},
	{code: "c5fd6f0510000000", text: "vmovdqa 0x10(%rip)", disp: [2]uint8{4, 4}, base: rip, index: none, vec: true},
	{code: "c5f970c11b", text: "vpshufd", imm: [2]uint8{4, 1}, base: none, index: none, vec: true},
	{code: "c4e27d18442410", text: "vbroadcastss 0x10(%rsp)", disp: [2]uint8{6, 1}, base: 4, index: none, vec: true},
	{code: "c4c27d180424", text: "vbroadcastss (%r12)", base: 12, index: none, vec: true},
	{code: "c4e37d46c131", text: "vperm2i128", imm: [2]uint8{5, 1}, base: none, index: none, vec: true},
	{code: "c4e3f9160510000000ff", text: "vpextrq 0x10(%rip)", disp: [2]uint8{5, 4}, imm: [2]uint8{9, 1}, base: rip, index: none, vec: true},
	{code: "c4a2719004e0", text: "vpgatherdd (%rax,%xmm12,8)", base: 0, index: 12, vec: true},
	{code: "c4e2719004a0", text: "vpgatherdd (%rax,%xmm4,4)", base: 0, index: 4, vec: true},
	{code: "c4e37bf0c105", text: "rorx", imm: [2]uint8{5, 1}, base: none, index: none, vec: true},
	{code: "62f17c48104001", text: "vmovups 0x40(%rax),%zmm0: disp8*64", disp: [2]uint8{6, 1}, base: 0, index: none, vec: true},
	{code: "62f17c48100510000000", text: "vmovups 0x10(%rip),%zmm0", disp: [2]uint8{6, 4}, base: rip, index: none, vec: true},
	{code: "62f37d4825c1ff", text: "vpternlogd", imm: [2]uint8{6, 1}, base: none, index: none, vec: true},
	{code: "62f17d4872f005", text: "vprold", imm: [2]uint8{6, 1}, base: none, index: none, vec: true},
	{code: "62d17c481004e4", text: "vmovups (%r12),%zmm0", base: 12, index: none, vec: true},
	{code: "62f27d419044e701", text: "vpgatherdd 4(%rdi,%zmm20,8)", disp: [2]uint8{7, 1}, base: 7, index: 20, vec: true},
	{code: "62f57c4858c1", text: "vaddph (map 5)", base: none, index: none, vec: true},
	{code: "8fe878a20510000000ff", text: "vpcmov 0x10(%rip) (XOP 8)", disp: [2]uint8{5, 4}, imm: [2]uint8{9, 1}, base: rip, index: none, vec: true},
	{code: "8fe97880c1", text: "vfrczps (XOP 9)", base: none, index: none, vec: true},
	{code: "8fea7810c178563412", text: "bextr (XOP A)", imm: [2]uint8{5, 4}, base: none, index: none, vec: true},
	{code: "8fc0", text: "pop %rax (8F)", base: none, index: none},
	{code: "d9f0", text: "f2xm1", base: none, index: none},
	{code: "dd442410", text: "fldl 0x10(%rsp)", disp: [2]uint8{3, 1}, base: 4, index: none},
	{code: "f348ab", text: "rep stos", base: none, index: none},
	{code: "4863048f", text: "movslq (%rdi,%rcx,4),%rax", base: 7, index: 1},
	{code: "69c078563412", text: "imul $", imm: [2]uint8{2, 4}, base: none, index: none},
	{code: "666bc005", text: "imul $5,%ax", imm: [2]uint8{3, 1}, base: none, index: none},
	{code: "9b", text: "fwait", base: none, index: none},
}

func TestDecodeShapes(t *testing.T) {
	for _, s := range shapes {
		code := unhex(t, s.code)
		in, err := arch.Decode(append(code, 0x90, 0x90, 0x90))
		if err != nil {
			t.Errorf("%s %s: %v", s.code, s.text, err)
			continue
		}
		got := shape{s.code, s.text, [2]uint8{in.DispOff, in.DispLen}, [2]uint8{in.ImmOff, in.ImmLen}, in.Base, in.Index, in.Rel, in.Vector}
		if int(in.Len) != len(code) || got != s {
			t.Errorf("%s: length %d\n got %+v\nwant %+v", s.text, in.Len, got, s)
		}
		for n := range len(code) {
			if _, err := arch.Decode(code[:n]); !errors.Is(err, arch.ErrTruncated) {
				t.Errorf("%s cut to %d bytes: %v", s.text, n, err)
			}
		}
	}
}

// TestShapesAgreeWithObjdump keeps the table above honest.
func TestShapesAgreeWithObjdump(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil {
		testkit.Skip(t, "objdump is not installed (binutils)")
	}
	var all []byte
	for _, s := range shapes {
		if s.text == "fwait" {
			continue // objdump joins it to what follows
		}
		line := bytes.Repeat([]byte{0x90}, 16)
		copy(line, unhex(t, s.code))
		all = append(all, line...)
	}
	file := filepath.Join(t.TempDir(), "shapes")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-D", "-w", "--insn-width=16", "-b", "binary", "-m", "i386:x86-64", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var buf []byte
	seen := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if l, ok := parseObjdump(lines.Bytes(), &buf); ok && l.addr%16 == 0 {
			seen++
			in, err := arch.Decode(all[l.addr:])
			if err != nil || int(in.Len) != len(l.code) {
				t.Errorf("% x %s: length %d, %v", l.code, l.text, in.Len, err)
			}
		}
	}
	if seen != len(all)/16 {
		t.Errorf("objdump decodes %d of %d", seen, len(all)/16)
	}
}

func TestDecodeRefusesWhatIsNoInstruction(t *testing.T) {
	for _, c := range []string{
		"06", "27", "3f", "60", "82c001", "9a000000000000", "ce", "d4", "d6", "ea000000000000", // gone in 64-bit mode
		"0f04", "0f0a", "0f25c0", "0f3cc0", "0f7ac0", "0f3a0000c000", "0f38c0c0",
		"62f97c481000", "62f178481000", // EVEX with a reserved bit wrong
		"62f47c481000", "c4e47d18c0", // no such map
		"66c5f9efc0", "48c5f9efc0", "f3c5f9efc0", // VEX behind 66, REX, F3
		"fef8", "ffff", "8dc0", "8f20", "c6c801",
		"66e90000", "660f840000", // 16-bit branch: vendors disagree
		"666666666666666666666666666666",                       // 15 prefixes
		"2e2e2e2e2e2e2e2e2e2e48b8efcdab8967452301",             // 20 bytes
		"2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e90", // too many prefixes
	} {
		code := append(unhex(t, c), make([]byte, 8)...)
		if in, err := arch.Decode(code); !errors.Is(err, arch.ErrUnknown) || in != (arch.Inst{}) {
			t.Errorf("%s: %+v, %v", c, in, err)
		}
	}
	if _, err := arch.Decode(nil); !errors.Is(err, arch.ErrTruncated) {
		t.Errorf("no bytes: %v", err)
	}
}

func TestKinds(t *testing.T) {
	kinds := map[string]func(arch.Inst) bool{
		"call": arch.Inst.IsCall, "jump": arch.Inst.IsJump, "cond": arch.Inst.IsCond,
		"ret": arch.Inst.IsRet, "indirect": arch.Inst.IsIndirect, "trap": arch.Inst.IsTrap,
		"falls": arch.Inst.FallsThrough, "memory": arch.Inst.HasMemory,
		"fs": func(in arch.Inst) bool { return in.FS }, "wide": func(in arch.Inst) bool { return in.Wide },
	}
	for code, want := range map[string]string{
		"e800000000":           "call falls",
		"ffd0":                 "call falls indirect",
		"ff1500000000":         "call falls indirect memory",
		"e900000000":           "jump",
		"eb00":                 "jump",
		"ffe0":                 "indirect jump",
		"3effe0":               "indirect jump",
		"ff2500000000":         "indirect jump memory",
		"7400":                 "cond falls",
		"0f8400000000":         "cond falls",
		"e200":                 "cond falls",
		"c7f800000000":         "cond falls",
		"c3":                   "ret",
		"f3c3":                 "ret",
		"0f0b":                 "trap",
		"cc":                   "trap",
		"f4":                   "trap",
		"ff30":                 "falls memory",
		"64488b042528000000":   "falls fs memory wide",
		"64488d042528000000":   "falls memory wide",
		"64a18877665544332211": "falls fs",
		"64a4":                 "falls fs",
		"6490":                 "falls",
		"c4e2f9184010":         "falls memory wide",
		"c5f9e8c0":             "falls",
		"0f20c0":               "falls",
	} {
		in, err := arch.Decode(unhex(t, code))
		if err != nil {
			t.Errorf("%s: %v", code, err)
			continue
		}
		for name, is := range kinds {
			if got := is(in); got != strings.Contains(" "+want+" ", " "+name+" ") {
				t.Errorf("%s: %s is %v", code, name, got)
			}
		}
	}
}

func TestTargetDispImm(t *testing.T) {
	for _, c := range []struct {
		code      string
		disp, imm int64
		target    uint64
		ok        bool
	}{
		{"ebfe", 0, -2, 0x1000, true},
		{"e8fbffffff", 0, -5, 0x1000, true},
		{"0f8500010000", 0, 0x100, 0x1106, true},
		{"488d05f9ffffff", -7, 0, 0x1000, true},
		{"48c70510000000ffffffff", 0x10, -1, 0x101b, true},
		{"67488d05f8ffffff", -8, 0, 0x1000, true},
		{"67488d05f0efffff", -0x1010, 0, 0xfffffff8, true},
		{"488b45f8", -8, 0, 0, false},
		{"48b8efcdab8967452301", 0, 0x0123456789abcdef, 0, false},
		{"a18877665544332211", 0x1122334455667788, 0, 0, false},
		{"c8108002", 0, 0x028010, 0, false},
		{"66b8ffff", 0, -1, 0, false},
	} {
		code := unhex(t, c.code)
		in, err := arch.Decode(code)
		if err != nil {
			t.Fatalf("%s: %v", c.code, err)
		}
		target, ok := in.Target(0x1000, code)
		if in.Disp(code) != c.disp || in.Imm(code) != c.imm || target != c.target || ok != c.ok {
			t.Errorf("%s: disp %#x imm %#x target %#x %v", c.code, in.Disp(code), in.Imm(code), target, ok)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	code := unhex(t, "62f37d4825c1ff")
	if n := testing.AllocsPerRun(100, func() { arch.Decode(code); arch.Decode(code[:3]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range shapes {
		b, _ := hex.DecodeString(s.code)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := arch.Decode(b)
		if err != nil {
			if in != (arch.Inst{}) {
				t.Fatalf("% x: %v with %+v", b, err, in)
			}
			return
		}
		n := int(in.Len)
		if n < 1 || n > arch.MaxLen || n > len(b) {
			t.Fatalf("% x: length %d", b, n)
		}
		if int(in.DispOff+in.DispLen) > n || int(in.ImmOff+in.ImmLen) > n {
			t.Fatalf("% x: fields outside: %+v", b, in)
		}
		if same, err := arch.Decode(b[:n]); err != nil || same != in {
			t.Fatalf("% x: what follows matters: %+v, %v", b, same, err)
		}
		in.Target(0, b)
		arch.Padding(b)
		arch.BranchInto(b, 0, 5)
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkDecode(b *testing.B) {
	var code []byte
	for _, s := range shapes {
		c, _ := hex.DecodeString(s.code)
		code = append(code, c...)
	}
	for b.Loop() {
		for o := 0; o < len(code); {
			in, err := arch.Decode(code[o:])
			if err != nil {
				b.Fatal(err)
			}
			o += int(in.Len)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(shapes)), "ns/inst")
}
