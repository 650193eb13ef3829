package diff_test

import (
	"strings"
	"testing"
)

// A buffer that lives has the size that old code asked for, and no type tells.
func TestAllocationsOfAnotherSizeAreFound(t *testing.T) {
	const head = `
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
char *buf; void *other; int count = 3;
#define N __attribute__((noipa))
`
	const tail = `
N int put(const char *s) { return snprintf(buf, 64 * BOUND, "%s", s); }
int main(int n, char **v) { init(); return put(v[0]) + n; }
`
	for _, c := range []struct {
		name, source string
		plus         bool
		want         string // what becomes larger by SIZE, "" for none
	}{
		{"malloc", `N void init(void) { buf = malloc(64 * SIZE); other = malloc(64); }`, false, "256 bytes instead of 64"},
		{"at the end", `N void *init(void) { return malloc(96 * SIZE); }`, false, "384 bytes instead of 96"},
		{"calloc", `N void init(void) { buf = calloc(4 * SIZE, 8); }`, false, "128 bytes instead of 32"},
		{"elements", `N void init(void) { buf = calloc(count, 8 * SIZE); }`, false, "32 bytes for each element instead of 8"},
		{"realloc", `N void init(void) { buf = realloc(buf, 500 * SIZE); }`, false, "2000 bytes instead of 500"},
		{"reallocarray", `N void init(void) { buf = reallocarray(buf, 5 * SIZE, 16); }`, false, "320 bytes instead of 80"},
		{"aligned_alloc", `N void init(void) { buf = aligned_alloc(64, 64 * SIZE); }`, false, "256 bytes instead of 64"},
		{"memalign", `N void init(void) { buf = memalign(64, 128 * SIZE); }`, false, "512 bytes instead of 128"},
		{"posix_memalign", `N void init(void) { if (posix_memalign(&other, 64, 640 * SIZE)) abort(); }`, false, "2560 bytes instead of 640"},
		{"mmap", `N void init(void) { buf = (char *)mmap(0, 4096 * SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }`, false, "16384 bytes instead of 4096"},
		{"new", `struct alignas(64) a { char c[64 * SIZE]; }; N void init(void) { other = new a; }`, true, "256 bytes instead of 64"},
		{"new[]", `N void init(void) { buf = new char[200 * SIZE]; }`, true, "800 bytes instead of 200"},
		{"new[] that throws nothing", `#include <new>
N void init(void) { buf = new (std::nothrow) char[200 * SIZE]; }`, true, "800 bytes instead of 200"},
		{"by way of a function", `static N void *xmalloc(size_t n) { void *p; if (!n) n = 1; p = malloc(n); if (!p) abort(); return p; }
N void init(void) { buf = xmalloc(100 * SIZE); }`, false, "400 bytes instead of 100"},
		{"elements by way of a function", `struct e { char c[24]; };
static N struct e *elements(size_t n) { struct e *p = (struct e *)calloc(n, sizeof *p); if (!p) abort(); return p; }
N void init(void) { other = elements(5 * SIZE); }`, false, "480 bytes instead of 120"},
		{"elements whose size nobody knows", `size_t each = 24;
static N void *several(size_t n) { void *p = calloc(n, each); if (!p) abort(); return p; }
N void init(void) { other = several(50 * SIZE); }`, false, ""},
		{"from a pool of its own", `static char pool[100000]; static size_t used;
N void *take_alloc(char *from, size_t n) { used += n; return from + used - n; }
N void init(void) { buf = (char *)take_alloc(pool, 100 * SIZE); }`, false, "400 bytes instead of 100"},
		{"what gives back", `N void pool_Dealloc(char *from, size_t line) { buf = from + line; }
N void init(void) { buf = malloc(64); pool_Dealloc(buf, 100 * SIZE); }`, false, ""},
		{"a bound alone", `N void init(void) { buf = malloc(256); }`, false, ""},
		{"the other allocator", `#if SIZE > 1
#define malloc(n) calloc(1, n)
#endif
N void init(void) { buf = malloc(64); other = malloc(96); }`, false, ""},
		{"another order", `N void init(void) { if (SIZE > 1) { other = malloc(96); buf = malloc(64); } else { buf = malloc(64); other = malloc(96); } }`, false, ""},
		{"in the other function", `N void init2(void) { other = malloc(SIZE > 1 ? 64 : 96); }
N void init(void) { buf = malloc(SIZE > 1 ? 96 : 64); init2(); }`, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			make := func(t *testing.T, s string, flags ...string) string { return compile(t, s, flags...) }
			if c.plus {
				make = compilePlus
			}
			for _, how := range []string{"-O0", "-O2", "-Os"} {
				if how == "-O0" && (strings.Contains(c.source, "xmalloc") || strings.Contains(c.source, "elements(")) {
					continue // it hands the size on by way of its frame
				}
				base := make(t, head+c.source+tail, how, "-DSIZE=1", "-DBOUND=1")
				fixed := make(t, head+c.source+tail, how, "-DSIZE=4", "-DBOUND=4")
				for _, of := range []func(string) string{func(p string) string { return p }, func(p string) string { return strip(t, p) }} {
					if of(base) != base && strings.Contains(c.source, "take_alloc") {
						continue // nothing but its name tells
					}
					found := compare(t, of(base), of(fixed)).Allocations()
					if c.want == "" && len(found) == 0 || c.want != "" && len(found) == 1 && strings.HasSuffix(found[0].String(), " allocates "+c.want) {
						continue
					}
					t.Errorf("%s: found %v, want %q", how, found, c.want)
				}
			}
		})
	}
}
