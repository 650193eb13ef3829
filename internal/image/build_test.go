package image_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
)

// program has one of everything that an image tells apart. slow is marked cold
// in part, so that gcc -O2 splits it.
const program = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int counter = 7;                       /* .data */
int zeros[100];                        /* .bss */
const char banner[] = "hello, image";  /* .rodata */
const char *const table[] = {"red", "green", "blue"}; /* .data.rel.ro */
__thread int per_thread = 5;           /* .tdata */
__thread int per_thread_zero;          /* .tbss */
static int hidden(int x) __attribute__((noinline));
static int hidden(int x) { return x * 3 + per_thread + per_thread_zero; }

__attribute__((constructor)) static void setup(void) { counter++; }
__attribute__((cold, noinline)) void complain(const char *s) { fprintf(stderr, "%s\n", s); }

__attribute__((noinline)) int slow(int x) {
	if (__builtin_expect(x > 1000000, 0)) {
		complain(banner); complain(table[x % 3]); abort();
	}
	return hidden(x) + counter++;
}
__attribute__((noinline)) int pick(int x) {
	switch (x) {
	case 0: return slow(1); case 1: return 17; case 2: return zeros[5];
	case 3: return counter; case 4: return hidden(9); case 5: return puts(banner);
	}
	return (int)strlen(table[x & 1]);
}
int main(int argc, char **argv) {
	char *p = malloc(argc);
	printf("%d %p\n", pick(argc), (void *)p);
	free(p);
	return 0;
}
`

// built holds the program in all its variants, compiled once for all tests.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "image-test")
	if err != nil {
		panic(err)
	}
	built = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

type variant struct {
	name  string
	flags []string
}

// build returns the path of the program linked in this way, with symbols and
// without.
func (v variant) build(t testing.TB) (path, bare string) {
	t.Helper()
	path = filepath.Join(built, v.name)
	bare = path + " stripped"
	if _, err := os.Stat(bare); err == nil {
		return path, bare
	}
	testkit.Tools(t, "strip")
	if v.name == "RELR" && !strings.Contains(testkit.Run(t, "ld", "--help"), "pack-relative-relocs") {
		testkit.Skip(t, "this ld cannot pack relocations")
	}
	if err := os.Rename(compile(t, program, v.flags...), path); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "strip", "-o", bare, path)
	return path, bare
}

// compile builds C source with gcc and returns the path of the result.
func compile(t testing.TB, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	c, out := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.out")
	if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return testkit.Compile(t, out, append([]string{c}, flags...)...)
}

// copyOf lets a tool change a file without touching the original.
func copyOf(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(to, b, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func stripped(t testing.TB, path string) string {
	t.Helper()
	testkit.Tools(t, "strip")
	p := copyOf(t, path)
	testkit.Run(t, "strip", p)
	return p
}

func open(t testing.TB, path string) *image.Image {
	t.Helper()
	m, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// nmSymbol is a line of nm -S: the truth about sizes.
type nmSymbol struct {
	addr, size image.Addr
	kind, name string
}

func nm(t testing.TB, path string) []nmSymbol {
	t.Helper()
	testkit.Tools(t, "nm")
	var out []nmSymbol
	for _, l := range strings.Split(testkit.Run(t, "nm", "-S", path), "\n") {
		f := strings.Fields(l)
		if len(f) != 4 {
			continue // without a size
		}
		out = append(out, nmSymbol{hex(t, f[0]), hex(t, f[1]), f[2], f[3]})
	}
	if len(out) == 0 {
		t.Fatalf("nm finds no sized symbol in %s", path)
	}
	return out
}

// symbol is the address of a symbol as nm tells it, sized or not.
func symbol(t testing.TB, path, name string) image.Addr {
	t.Helper()
	testkit.Tools(t, "nm")
	for _, l := range strings.Split(testkit.Run(t, "nm", path), "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[2] == name {
			return hex(t, f[0])
		}
	}
	t.Fatalf("nm finds no %s in %s", name, path)
	return 0
}

func hex(t testing.TB, s string) image.Addr {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return image.Addr(v)
}

// variants are the ways in which the program is linked.
var variants = []variant{
	{"PIE", []string{"-O2", "-pie", "-fPIE"}},
	{"fixed address", []string{"-O2", "-no-pie", "-fno-pie"}},
	{"shared library", []string{"-O2", "-shared", "-fPIC", "-Wl,-soname,libp.so.1"}},
	{"static PIE", []string{"-O2", "-static-pie", "-fPIE"}},
	{"CET", []string{"-O2", "-pie", "-fPIE", "-fcf-protection=full", "-Wl,-z,ibtplt"}},
	{"RELR", []string{"-O2", "-pie", "-fPIE", "-Wl,-z,pack-relative-relocs"}},
	{"bound at start", []string{"-O2", "-pie", "-fPIE", "-Wl,-z,now"}},
	{"unoptimised", []string{"-O0", "-pie", "-fPIE"}},
	{"no unwind data", []string{"-O2", "-pie", "-fPIE", "-fno-asynchronous-unwind-tables", "-fno-exceptions"}},
}
