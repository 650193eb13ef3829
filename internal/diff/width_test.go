package diff_test

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/testkit"
)

// How much of a constant an instruction reads is what a disassembler says: never
// less, and exactly that for what compilers use.
func TestWidthOfAnAccessIsWhatADisassemblerSays(t *testing.T) {
	const known = `
	mov x(%rip),%al; mov x(%rip),%ax; mov x(%rip),%eax; mov x(%rip),%rax; mov %r9b,x(%rip); movb $1,x(%rip); movw $1,x(%rip)
	movl $1,x(%rip); movq $1,x(%rip); add x(%rip),%r9; cmpb $1,x(%rip); cmpw $300,x(%rip); cmpl $300,x(%rip); cmpq $3,x(%rip)
	testb $1,x(%rip); test %eax,x(%rip); imul $3,x(%rip),%eax; imul x(%rip),%rax; shlb x(%rip); sarq $3,x(%rip); incl x(%rip)
	negq x(%rip); divl x(%rip); xchg %al,x(%rip); push x(%rip); pop x(%rip); call *x(%rip); jmp *x(%rip)
	movzbl x(%rip),%eax; movzwl x(%rip),%eax; movsbq x(%rip),%rax; movswl x(%rip),%eax; movslq x(%rip),%rax; sete x(%rip)
	cmove x(%rip),%eax; cmove x(%rip),%rax; lock cmpxchg %rax,x(%rip); lock xadd %eax,x(%rip); bsf x(%rip),%rax; popcnt x(%rip),%eax
	movnti %eax,x(%rip); movbe x(%rip),%eax
	flds x(%rip); fldl x(%rip); fldt x(%rip); fstpt x(%rip); fildl x(%rip); fildll x(%rip); filds x(%rip); fistpll x(%rip); fadds x(%rip)
	fmull x(%rip); fiaddl x(%rip); fldcw x(%rip); fnstcw x(%rip)
	movss x(%rip),%xmm1; movsd x(%rip),%xmm1; movups x(%rip),%xmm1; movaps %xmm1,x(%rip); movdqa x(%rip),%xmm1; movdqu x(%rip),%xmm1
	movq x(%rip),%xmm1; movd x(%rip),%xmm1; movq %xmm1,x(%rip); movhps x(%rip),%xmm1; movlpd x(%rip),%xmm1; ucomisd x(%rip),%xmm1; comiss x(%rip),%xmm1
	addss x(%rip),%xmm1; mulsd x(%rip),%xmm1; addps x(%rip),%xmm1; sqrtsd x(%rip),%xmm1; cvtsi2sdl x(%rip),%xmm1; cvtsi2sdq x(%rip),%xmm1; cvttsd2si x(%rip),%eax
	cvtss2sd x(%rip),%xmm1; cvtps2pd x(%rip),%xmm1; cvtdq2pd x(%rip),%xmm1; cvttps2dq x(%rip),%xmm1; andpd x(%rip),%xmm1; cmpltsd x(%rip),%xmm1
	pand x(%rip),%xmm1; pshufd $1,x(%rip),%xmm1; pinsrw $1,x(%rip),%xmm1; pinsrd $1,x(%rip),%xmm1; pinsrq $1,x(%rip),%xmm1; pinsrb $1,x(%rip),%xmm1
	pmovzxbw x(%rip),%xmm1; pmovsxdq x(%rip),%xmm1; pshufb x(%rip),%xmm1; roundsd $1,x(%rip),%xmm1; insertps $1,x(%rip),%xmm1
	vmovss x(%rip),%xmm1; vmovsd x(%rip),%xmm9; vmovdqu x(%rip),%ymm1; vmovdqa x(%rip),%xmm9; vaddsd x(%rip),%xmm1,%xmm9; vaddps x(%rip),%ymm1,%ymm9
	vpand x(%rip),%ymm1,%ymm2; vpshufb x(%rip),%ymm1,%ymm2; vbroadcastss x(%rip),%ymm1; vpbroadcastq x(%rip),%ymm1; vbroadcastsd x(%rip),%ymm1
	vfmadd213sd x(%rip),%xmm1,%xmm2; vfmadd132ss x(%rip),%xmm1,%xmm2; vfmadd213pd x(%rip),%ymm1,%ymm2; vpmovzxbw x(%rip),%ymm1; shlx %rax,x(%rip),%rbx
	vmovq x(%rip),%xmm1; vmovd x(%rip),%xmm1; vcvtsi2sdq x(%rip),%xmm1,%xmm2; vucomisd x(%rip),%xmm1; rorx $3,x(%rip),%eax; andn x(%rip),%rax,%rbx
	vmovdqu64 x(%rip),%zmm1; vmovdqu8 x(%rip),%ymm17; vmovsd x(%rip),%xmm17; vmovss x(%rip),%xmm17; vaddpd x(%rip){1to8},%zmm1,%zmm2`
	object := filepath.Join(t.TempDir(), "code.o")
	cmd := exec.Command(testkit.Tool(t, "as"), "-o", object, "-")
	cmd.Stdin = strings.NewReader(known + "\nx:\n")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as: %v\n%s", err, text)
	}
	exact, wider := disassembled(t, object)
	if n := len(wider); n > 0 || exact < 100 {
		t.Errorf("%d of %d: %s", n, exact+n, strings.Join(wider, "\n"))
	}
	// Whatever else there is: never less.
	for _, lib := range []string{"/lib/x86_64-linux-gnu/libm.so.6", os.Getenv("HOTPATCH_TEST_DISASSEMBLE")} {
		if _, err := os.Stat(lib); err == nil {
			exact, wider := disassembled(t, lib)
			t.Logf("%s: %d exact, %d wider", lib, exact, len(wider))
		}
	}
}

// disassembled compares accessWidth with what objdump says of the operands that
// are relative to the program counter; wider are those of which it says more.
func disassembled(t *testing.T, path string) (exact int, wider []string) {
	sizes := map[string]int{"BYTE": 1, "WORD": 2, "DWORD": 4, "QWORD": 8, "TBYTE": 10, "XMMWORD": 16, "YMMWORD": 32, "ZMMWORD": 64}
	operand := regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t((?:[0-9a-f]{2} )+) *\t(.*?\b([A-Z]+) (PTR|BCST) .*\[rip.*)$`)
	for _, m := range operand.FindAllStringSubmatch(testkit.Run(t, "objdump", "-d", "-w", "-Mintel", "--insn-width=15", path), -1) {
		code, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
		if err != nil || sizes[m[3]] == 0 {
			continue
		}
		got, err := diff.AccessWidth(code)
		switch want := sizes[m[3]]; {
		case err != nil:
			t.Errorf("%s: %v", m[2], err)
		case got < want:
			t.Errorf("%s%s: %d bytes, want %d", m[1], m[2], got, want)
		case got > want && m[4] == "PTR":
			wider = append(wider, m[0])
		default:
			exact++
		}
	}
	return exact, wider
}
