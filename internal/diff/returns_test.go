package diff_test

import (
	"testing"

	"hotpatch/internal/diff"
)

// What stands between a call and the next use of rax tells whether anybody looks
// at what the call returned.
func TestInstructionsBehindACallLookAtItsResultOrNot(t *testing.T) {
	for _, c := range []struct {
		name string
		code []byte
		want string
	}{
		{"mov $3,%eax", []byte{0xb8, 3, 0, 0, 0}, "replaced"},
		{"mov $3,%r8d", []byte{0x41, 0xb8, 3, 0, 0, 0}, "kept"},
		{"xor %eax,%eax", []byte{0x31, 0xc0}, "replaced"},
		{"xor %ecx,%eax", []byte{0x31, 0xc8}, "read"},
		{"xor %edx,%edx", []byte{0x31, 0xd2}, "kept"},
		{"mov %rax,%rbx", []byte{0x48, 0x89, 0xc3}, "read"},
		{"mov %rbx,%rdi", []byte{0x48, 0x89, 0xdf}, "kept"},
		{"mov %rbx,%rax", []byte{0x48, 0x8b, 0xc3}, "replaced"},
		{"mov (%rbx),%rax", []byte{0x48, 0x8b, 0x03}, "replaced"},
		{"mov (%rax),%rax", []byte{0x48, 0x8b, 0x00}, "read"},
		{"mov %rbx,(%rax)", []byte{0x48, 0x89, 0x18}, "read"},
		{"lea 2(%rbx),%eax", []byte{0x8d, 0x43, 2}, "replaced"},
		{"lea 2(%rax),%ebx", []byte{0x8d, 0x58, 2}, "read"},
		{"lea 0(%rip),%rsi", []byte{0x48, 0x8d, 0x35, 0, 0, 0, 0}, "kept"},
		{"movzbl (%rdi),%eax", []byte{0x0f, 0xb6, 0x07}, "replaced"},
		{"movzbl %al,%eax", []byte{0x0f, 0xb6, 0xc0}, "read"},
		{"test %eax,%eax", []byte{0x85, 0xc0}, "read"},
		{"cmp $3,%ebx", []byte{0x83, 0xfb, 3}, "kept"},
		{"cmp $3,%eax", []byte{0x83, 0xf8, 3}, "read"},
		{"cmp $300,%eax", []byte{0x3d, 0x2c, 1, 0, 0}, "read"},
		{"cltq", []byte{0x48, 0x98}, "read"},
		{"pop %rbx", []byte{0x5b}, "kept"},
		{"pop %rax", []byte{0x58}, "replaced"},
		{"push %rax", []byte{0x50}, "read"},
		{"call", []byte{0xe8, 0, 0, 0, 0}, "replaced"},
		{"call *0(%rip)", []byte{0xff, 0x15, 0, 0, 0, 0}, "replaced"},
		{"call *%rax", []byte{0xff, 0xd0}, "read"},
		{"jne", []byte{0x75, 0}, "kept"},
		{"jmp *%rax", []byte{0xff, 0xe0}, "read"},
		{"movq %rax,%xmm0", []byte{0x66, 0x48, 0x0f, 0x6e, 0xc0}, "read"},
		{"mul %rbx", []byte{0x48, 0xf7, 0xe3}, "read"},
		{"cmpxchg %rbx,(%rdi)", []byte{0x48, 0x0f, 0xb1, 0x1f}, "read"},
		{"rep stos", []byte{0xf3, 0x48, 0xab}, "read"},
	} {
		if got := diff.RAXAfter(c.code); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
