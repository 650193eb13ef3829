package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// TestOtherEncodingsAreNoise spells both encodings of instructions out.
func TestOtherEncodingsAreNoise(t *testing.T) {
	// near is long enough for hashes not to be alike by accident, and behind
	// what each case puts in the middle.
	const source = `
#include <stdio.h>
int counter;
__asm__(
"	.text\n	.globl work\n	.type work, @function\n"
"work:\n	.cfi_startproc\n"
"	test %rdi, %rdi\n	je 9f\n	mov 8(%rdi), %rax\n"
"	BODY\n"
"	add $5, %rax\n	mov %eax, counter(%rip)\n9:	ret\n"
"	.cfi_endproc\n	.size work, .-work\n");
long work(long *);
int main(int n, char **v) { long a[2] = { n, n }; printf("%ld\n", work(a)); return 0; }
`
	for _, c := range []struct {
		name, from, to string
		noise          bool
	}{
		{"nops", "inc %rax", "nopl 0(%rax,%rax); inc %rax; xchg %ax,%ax", true},
		{"direction of mov", ".byte 0x4c,0x89,0xd0", ".byte 0x49,0x8b,0xc2", true},                        // mov %r10,%rax
		{"direction of add", ".byte 0x01,0xc8", ".byte 0x03,0xc1", true},                                  // add %ecx,%eax
		{"long displacement", ".byte 0x48,0x8b,0x47,0x08", ".byte 0x48,0x8b,0x87,8,0,0,0", true},          // mov 8(%rdi),%rax
		{"long immediate", ".byte 0x48,0x83,0xc0,0xf0", ".byte 0x48,0x81,0xc0,0xf0,0xff,0xff,0xff", true}, // add $-16,%rax
		{"long branch", "jmp 8f; 8: inc %rax", ".byte 0xe9,0,0,0,0; inc %rax", true},
		{"other registers", ".byte 0x4c,0x89,0xd0", ".byte 0x4c,0x8b,0xd0", false}, // mov %rax,%r10
		{"other displacement", "mov 8(%rdi),%rcx", "mov 0(%rdi),%rcx", false},
		{"other immediate", "add $16,%rcx", "add $17,%rcx", false},
		{"other width", "add $16,%ecx", "add $16,%rcx", false},
		{"pause is no nop", "inc %rax", "pause; inc %rax", false},
		{"endbr64 is no nop", "inc %rax", "endbr64; inc %rax", false},
		{"other target", "jmp 8f; 8: inc %rax; 7: dec %rcx", "jmp 7f; 8: inc %rax; 7: dec %rcx", false},
		{"int3 is no nop", "inc %rax", "int3; inc %rax", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := compile(t, strings.Replace(source, "BODY", c.from, 1))
			fixed := compile(t, strings.Replace(source, "BODY", c.to, 1))
			d := compare(t, base, fixed)
			want := diff.Changed
			if c.noise {
				want = diff.Noise
			}
			if s, why := d.State(funcs(t, fixed, d)["work"]); s != want {
				t.Errorf("work is %v (%s), want %v", s, why, want)
			}
		})
	}
}
