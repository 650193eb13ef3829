package diff_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/testkit"
)

// What has had its turn in every process does not come again.
func TestCodeThatRunsOnceIsFound(t *testing.T) {
	const source = `
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define API __attribute__((noinline, noipa))
static pthread_once_t once; static int state; static unsigned char table[256]; static jmp_buf env;
API static void opened(int n) { state += n; /*opened*/ }
API static void deeper(int n) { state ^= n; /*deeper*/ }
API static void set_up(int n) { for (int i = 0; i < n; i++) opened(i); deeper(n); }
API static void one(int i) { table[i] = i; /*one*/ }
API static void fill(void) { for (int i = 0; i < 200; i++) one(i); table[3] = 1; /*fill*/ }
API static int handle(int n) { pthread_once(&once, fill); return table[n & 255]; /*handle*/ }
API static int option(int n) { return n + state; /*option*/ }
API static int child(int n) { return n * state; /*child*/ }
API static int again(int n) { return n - state; /*again*/ }
API static void serve(void) { while (state < 9) if (fork() == 0) return; _exit(0); }
int main(int n, char **v) {
	char b[100];
	set_up(n);
	if (n > 5) { setjmp(env); return again(n); }
	for (int i = 0; i < n; i++) switch (v[i][0]) {
		case 'a': state += option(1); break; case 'b': state = 4; break; case 'c': state = 8; break;
		case 'd': state = 17; break; case 'e': puts("e"); break; case 'f': puts("f"); break; }
	while (fgets(b, sizeof b, stdin)) state += handle(b[0]);
	serve();
	return child(n);
}
`
	const magic = `
#define API __attribute__((noinline, noipa))
#include <map>
API int first(int n) { return n + 3; /*first*/ }
API int of(int n) {
	static const std::map<int, int> m = { {1, first(1)}, {2, 20}, {3, 30} };
	auto i = m.find(n); return i == m.end() ? -1 : i->second; /*of*/
}
int main(int n, char **v) { int s = 0; for (int i = 0; i < n; i++) s += of(i); return s; }
`
	for _, c := range []struct {
		name, source, from, to, want string
	}{
		{"called by main alone", source, "/*deeper*/", "state += 3;", "deeper"},
		{"called by that in a loop", source, "/*opened*/", "state += 3;", ""},
		{"a routine", source, "/*fill*/", "table[';'] = 0;", "fill"},
		{"called by the routine in a loop", source, "/*one*/", "table[i] += 1;", "one"},
		{"calls the routine", source, "table[n & 255]; /*handle*/", "table[n & 127];", ""},
		{"in a switch in a loop", source, "n + state; /*option*/", "n + 2 * state;", ""},
		{"behind fork in a loop", source, "n * state; /*child*/", "n * state + 1;", ""},
		{"behind setjmp", source, "n - state; /*again*/", "n - state + 1;", ""},
		{"content of a static variable", magic, "{2, 20}", "{2, 21}", "_Z2ofi"},
		{"called for a static variable", magic, "n + 3; /*first*/", "n + 4;", "_Z5firsti"},
		{"beside a static variable", magic, "? -1 : i->second; /*of*/", "? -2 : i->second;", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			make := func(text string) string { return compile(t, text) }
			if c.source == magic {
				testkit.Tool(t, "g++")
				make = func(text string) string { return compileFiles(t, map[string]string{"a.cc": text}, "-lstdc++") }
			}
			text := strings.Replace(c.source, c.from, c.to, 1)
			if text == c.source {
				t.Fatalf("no %q", c.from)
			}
			x, y := make(c.source), make(text)
			for _, pair := range [][2]string{{x, y}, {strip(t, x), strip(t, y)}} {
				d := compare(t, pair[0], pair[1])
				names, found := funcs(t, y, d), d.Once()
				if c.want == "" && len(found) > 0 {
					t.Errorf("%s: found %+v of %s", pair[0], found, found[0].Func.Name())
				}
				if c.want != "" && !slices.ContainsFunc(found, func(o diff.Once) bool { return o.Func == names[c.want] }) {
					t.Errorf("%s: found %+v, want %s", pair[0], found, c.want)
				}
			}
		})
	}
}
