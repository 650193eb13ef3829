package diff_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hotpatch/internal/testkit"
)

// compilePlus compiles C++ to a shared library.
func compilePlus(t *testing.T, source string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("g++"); err != nil {
		testkit.Skip(t, "g++ is missing")
	}
	dir := t.TempDir()
	file, out := filepath.Join(dir, "it.cc"), filepath.Join(dir, "it.so")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "g++", append([]string{"-O2", "-shared", "-fPIC", "-s", "-o", out, file}, args...)...)
	return out
}

// Objects of the compiler's own making are known by the pointers to functions
// that the program puts into them.
func TestPointersToFunctionsThatAreKeptAreFound(t *testing.T) {
	const head = `
#include <functional>
#include <cstdlib>
#include <cstdio>
struct Base { virtual long f(long n); virtual ~Base(); long k; };
long Base::f(long n) { return n * k; }
Base::~Base() { puts("gone"); }
static int both(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static void end(int, void *) { puts("end"); }
extern void *volatile kept;
void *volatile kept;
`
	for _, c := range []struct {
		name, source string
		want         bool
	}{
		{"tables of virtual functions", "struct More : Base { long f(long n) override { return n + k; } }; Base *make() { return new More; }", false},
		{"handed to the C library", "void sorted(int *v, int n) { qsort(v, n, sizeof *v, both); for (int i = 0; i < n; i++) qsort(v + i, 1, 4, both); on_exit(end, v); }", false},
		{"compared", "long call(Base *b, long n) { return b->f(n); }", false},
		{"a lambda that becomes a function", "void at(void *p) { on_exit([](int, void *q) { puts((char *)q); }, p); }", false},
		{"stored in a variable", "void keep() { kept = (void *)both; }", true},
		{"stored in an object", "struct O { long n; int (*f)(const void *, const void *); }; O *make() { return new O{1, both}; }", true},
		{"stored on one way, handed on another", "void some(int *v, int n) { if (n > 3) qsort(v, n, 4, both); else kept = (void *)both; }", true},
		{"stored after it was compared", "void some(void *p) { if (p != (void *)both) kept = (void *)both; }", true},
		{"exported, out of a slot", "void keep(); void keep() { kept = (void *)keep; } void more() { kept = (void *)keep; }", true},
		{"returned", "typedef int (*fn)(const void *, const void *); fn get() { return both; }", true},
		{"handed to a function of its own", "__attribute__((noinline)) static void keep(void *p) { kept = p; } void some() { keep((void *)both); }", true},
		{"std::function", "std::function<long(long)> make(long *a, long b) { return [a, b](long n) { return *a * n + b; }; }", true},
		{"a coroutine", `
#include <coroutine>
struct Task {
	struct promise_type {
		Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
		std::suspend_always initial_suspend() { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		void return_void() {}
		void unhandled_exception() {}
	};
	std::coroutine_handle<promise_type> h;
};
Task work(long n) { printf("%ld\\n", n); co_await std::suspend_always{}; printf("%ld\\n", n * 3); }
`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := compilePlus(t, head+c.source, "-std=c++20", "-fcoroutines")
			d := compare(t, path, path)
			f := d.Fixed.Keeps()
			if got := f != nil; got != c.want {
				t.Errorf("kept: %v, want %v: %v", got, c.want, f)
			}
		})
	}
}

// Code that does the same with one member after the other is no sign of members
// that moved when another compiler puts it into another order.
func TestMembersInAnotherOrderHaveNotMoved(t *testing.T) {
	const source = `
#include <stdio.h>
struct s { MORE long a, b, c, d, e; };
#define DO(m, k) if (p->m > k) { puts(#k); p->m += k; }
#define F(f, k) void f(struct s *p) { ORDER(k) }
F(f1, 3) F(f2, 5) F(f3, 7) F(f4, 9)
`
	const was, is = "-DORDER(k)=DO(b,k) DO(c,k) DO(d,k) DO(e,k) DO(a,k)", "-DORDER(k)=DO(a,k) DO(b,k) DO(c,k) DO(d,k) DO(e,k)"
	flags := []string{"-O2", "-shared", "-fPIC", "-s"}
	base := compile(t, source, append(flags, was, "-DMORE=")...)
	for _, c := range []struct {
		name, order, more string
		plain, reordered  bool
	}{
		{"another order", is, "", true, false},
		{"moved members", was, "long more;", true, true},
		{"both", is, "long more, other;", true, true},
	} {
		d := compare(t, base, compile(t, source, append(flags, c.order, "-DMORE="+c.more)...))
		if got := d.Drift(false); (got != "") != c.plain {
			t.Errorf("%s: %q", c.name, got)
		}
		if got := d.Drift(true); (got != "") != c.reordered {
			t.Errorf("%s, by another compiler: %q", c.name, got)
		}
	}
}
