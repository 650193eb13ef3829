package scan_test

import (
	"os"
	"path/filepath"
	"testing"

	"hotpatch/internal/scan"
	"hotpatch/internal/testkit"
)

// A program that changes the build-id in its own copy of its first page, and then
// is like the other.
const liar = `
static long call(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
extern char __executable_start[];
__asm__(".globl _start\n_start:\n\tmovq (%rsp), %rdi\n\tandq $-16, %rsp\n\tcall begin\n");
__attribute__((used)) void begin(long argc)
{
	char *m = __executable_start;
	if (argc > 1) {
		call(10, (long)m, 4096, 3);
		for (unsigned *w = (void *)m; (char *)w < m + 4000; w++)
			if (w[0] == 4 && w[2] == 3 && w[3] == 0x554e47)
				w[4] ^= 1;
		call(10, (long)m, 4096, 1);
	}
	call(1, 1, (long)"up\n", 3);
	for (;;)
		call(34, 0, 0, 0);
}
`

// What one process has in its memory says nothing of others that map the file.
func TestProcessThatLiesAboutAFileIsNotBelievedOfOthers(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "liar.c"), []byte(liar), 0o644); err != nil {
		t.Fatal(err)
	}
	program := testkit.Compile(t, filepath.Join(dir, "liar"), "-O1", "-static", "-nostdlib", "-fno-stack-protector", testkit.OwnBuildID(), filepath.Join(dir, "liar.c"))
	for range 3 {
		start(t, program, nil, "lie")
	}
	honest := start(t, program, nil)
	p := process(t, take(t, scan.New(scan.Options{Root: dir})), honest)
	if want := testkit.BuildID(t, program); len(p.Images) != 1 || p.Images[0].BuildID != want {
		t.Errorf("%+v (%s), want build-id %s", p.Images, p.Unknown, want)
	}
}
