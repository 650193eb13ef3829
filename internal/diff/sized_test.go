package diff_test

import (
	"strings"
	"testing"
)

// A size that is computed and becomes larger harms where another function counts on it.
func TestComputedSizesThatOthersCountOnAreFound(t *testing.T) {
	const head = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define N __attribute__((noipa))
struct s { size_t cap; char *buf; } *all;
size_t room;
`
	const tail = `
int main(int n, char **v) { make(n + 30, *v); fill(all, n); return all->buf[n]; }
`
	for _, c := range []struct {
		name, source, want string
	}{
		{"argument", `N void make(size_t n, const char *s) { all = malloc(sizeof *all); all->cap = n; all->buf = malloc(n + MORE); }
N void fill(struct s *s, int c) { memset(s->buf, c, s->cap + MORE); }`, "16 bytes more"},
		{"member", `N void make(size_t n, const char *s) { all = malloc(sizeof *all); all->cap = n; puts(s); all->buf = malloc(all->cap + MORE); }
N void fill(struct s *s, int c) { memset(s->buf, c, s->cap + MORE); }`, "16 bytes more"},
		{"variable", `N void make(size_t n, const char *s) { all = malloc(sizeof *all); all->cap = room; puts(s); all->buf = malloc(room + MORE); }
N void fill(struct s *s, int c) { memset(s->buf, c, s->cap + MORE); }`, "16 bytes more"},
		{"alone", `N void make(size_t n, const char *s) { all = malloc(sizeof *all); all->cap = n; all->buf = malloc(n + MORE); }
N void fill(struct s *s, int c) { memset(s->buf, c, s->cap); }`, ""},
		{"for the NUL", `N void make(size_t n, const char *s) { all = malloc(sizeof *all); all->cap = n; all->buf = malloc(n + !!MORE); }
N void fill(struct s *s, int c) { if (MORE && c == 77) return; memset(s->buf, c, s->cap); }`, ""},
	} {
		base := compile(t, head+c.source+tail, "-O2", "-DMORE=0")
		fixed := compile(t, head+c.source+tail, "-O2", "-DMORE=16")
		for _, of := range []func(string) string{func(p string) string { return p }, func(p string) string { return strip(t, p) }} {
			found := compare(t, of(base), of(fixed)).Allocations()
			if c.want == "" && len(found) == 0 || c.want != "" && len(found) == 1 && strings.Contains(found[0].String(), c.want) {
				continue
			}
			t.Errorf("%s: found %v, want %q", c.name, found, c.want)
		}
	}
}
