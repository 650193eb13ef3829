package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

const keep = "#include <stdio.h>\n#define KEEP __attribute__((noinline, noclone, used))\n"

// aside is a function that changes in any case, so that there is a hotpatch.
const aside = `
KEEP int aside(int n) {
#ifdef FIXED
	if (n > 100) return 1;
#endif
	return n * 3 + 1234567;
}
`

// A function of equal code is changed when the constants that it reads are: all
// of them, as far as it reads, whatever they look like.
func TestConstantsAreComparedAsFarAsTheyAreRead(t *testing.T) {
	for _, c := range []struct {
		name, source, function string
		flags                  []string
		stripped               bool // must be seen without symbols, too
	}{
		{"a switch has more cases and no bound", `
KEEP void a(int n) { printf("a%d ", n); }
KEEP void b(int n) { printf("b%d ", n); }
KEEP void f(int op, int n) {
	switch (op) {
	case 0:
#ifdef FIXED
	case 5:
#endif
		a(n + 1); a(n); break;
	case 1:
#ifdef FIXED
	case 6:
#endif
		b(n + 1); a(n); break;
	case 2: a(n + 3); b(n); break;
	case 3: b(n + 4); b(n); break;
	case 4: a(n + 9); b(n + 1); break;
	default: __builtin_unreachable();
	}
}
int main(int n, char **v) { f(n, aside(n)); return 0; }`, "f", []string{"-O1"}, true},
		{"the last numbers of the section are more", `
KEEP int f(int i) {
	static const int numbers[] = {1000, 2000, 3000
#ifdef FIXED
		, 4000, 5000
#endif
	};
	return numbers[i];
}
KEEP int g(int i) { static const int numbers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; return numbers[i]; }
int main(int n, char **v) { return f(n) + g(n) + aside(n); }`, "f", nil, true},
		{"there is one zero more", `
KEEP int f(int i) {
	static const int numbers[] = {1000, 2000, 3000
#ifdef FIXED
		, 0
#endif
	};
	return numbers[i];
}
KEEP int g(int i) { static const int numbers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; return numbers[i]; }
int main(int n, char **v) { return f(n) + g(n) + aside(n); }`, "f", nil, false},
		{"numbers that begin like a string are more", `
KEEP int f(int i) {
	static const int numbers[] = {65, 2, 3
#ifdef FIXED
		, 64, 5
#endif
	};
	return numbers[i];
}
KEEP int g(int i) { static const int numbers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; return numbers[i]; }
int main(int n, char **v) { return f(n) + g(n) + aside(n); }`, "f", nil, true},
		{"numbers that begin like a string have a zero elsewhere", `
#define REST 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20
KEEP void touch(int *t) { __asm__ volatile("" :: "r"(t) : "memory"); }
KEEP int f(int i) {
#ifdef FIXED
	int t[42] = {65, REST, REST, 0};
#else
	int t[42] = {65, 0, REST, REST};
#endif
	touch(t);
	return t[i % 40];
}
int main(int n, char **v) { return f(n) + aside(n); }`, "f", []string{"-Os"}, true},
		{"numbers that begin like a string, one of which is read by itself", `
#ifdef FIXED
static const int numbers[] = {65, 2, 3, 4, 5, 7};
#else
static const int numbers[] = {65, 2, 3, 4, 5, 6};
#endif
KEEP int f(int i) { return numbers[i]; }
KEEP int g(int i) { return i + *(volatile const int *)&numbers[3]; }
int main(int n, char **v) { return f(n) + g(n) + aside(n); }`, "f", nil, true},
		{"an array of strings has more of them", `
static const char names[][8] = {"red", "green", "blue"
#ifdef FIXED
	, "violet", "pink"
#endif
};
static const int numbers[40] = {65, 7, 9};
KEEP const char *f(int i) { return names[i]; }
KEEP int g(int i) { return numbers[i]; }
int main(int n, char **v) { return f(n)[0] + g(n) + aside(n); }`, "f", nil, true},
		{"an array of strings that fill it has more of them", `
static const char names[][8] = {"crimson", "emerald"
#ifdef FIXED
	, "magenta"
#endif
};
static const int numbers[40] = {1, 7, 9};
KEEP const char *f(int i) { return names[i]; }
KEEP int g(int i) { return numbers[i]; }
int main(int n, char **v) { return f(n)[0] + g(n) + aside(n); }`, "f", nil, true},
		{"a structure is copied whole, and one member read by itself", `
struct cfg { int a, b; };
extern const struct cfg cfg;
KEEP struct cfg f(void) { return cfg; }
KEEP int g(void) { return cfg.b; }
#ifdef FIXED
__asm__(".section .rodata\n.globl cfg\n.type cfg,@object\n.balign 8\ncfg: .long 10, 20\n.size cfg, 8\n.text");
#else
__asm__(".section .rodata\n.globl cfg\n.type cfg,@object\n.balign 8\ncfg: .long 10, 99\n.size cfg, 8\n.text");
#endif
int main(int n, char **v) { struct cfg x = f(); return x.a + g() + aside(n); }`, "f", nil, true},
		{"a vector is read whole, and one element by itself", `
typedef int vec __attribute__((vector_size(32)));
extern const vec numbers;
KEEP void f(vec *p) { *p = numbers; }
KEEP int g(void) { return ((const int *)&numbers)[6]; }
#ifdef FIXED
__asm__(".section .rodata\n.globl numbers\n.type numbers,@object\n.balign 32\nnumbers: .long 1, 2, 3, 4, 5, 6, 70, 8\n.size numbers, 32\n.text");
#else
__asm__(".section .rodata\n.globl numbers\n.type numbers,@object\n.balign 32\nnumbers: .long 1, 2, 3, 4, 5, 6, 7, 8\n.size numbers, 32\n.text");
#endif
int main(int n, char **v) { vec x; f(&x); return x[n] + g() + aside(n); }`, "f", []string{"-mavx"}, true},
	} {
		base := compile(t, keep+aside+c.source, c.flags...)
		fixed := compile(t, keep+aside+c.source, append(c.flags, "-DFIXED")...)
		for _, bare := range []bool{false, true} {
			x, y := base, fixed
			if bare {
				if !c.stripped {
					continue
				}
				x, y = strip(t, base), strip(t, fixed)
			}
			d := compare(t, x, y)
			f := funcs(t, fixed, d)[c.function]
			if state, _ := d.State(f); state != diff.Changed {
				t.Errorf("%s, stripped %v: %s is %v", c.name, bare, c.function, state)
			}
		}
	}
}

// Strings have neighbours that nothing but luck puts there: a function that uses
// one is the same when the one behind it came or went.
func TestStringBehindAnotherIsNoPartOfIt(t *testing.T) {
	const source = keep + `
KEEP void f(void) { puts("first of them"); }
KEEP int g(int n) {
#ifdef FIXED
	return *(volatile const short *)"and the one behind it";
#else
	puts("and the one behind it");
	return n;
#endif
}
KEEP void h(void) { puts("last"); }
int main(int n, char **v) { f(); h(); return g(n); }`
	base, fixed := compile(t, source, "-fno-toplevel-reorder"), compile(t, source, "-fno-toplevel-reorder", "-DFIXED")
	for _, path := range []string{base, fixed} {
		if m := open(t, path); !strings.Contains(string(bytesOf(m)), "first of them\x00and the one behind it\x00") {
			t.Fatalf("%s: the strings are not side by side: nothing to test", path)
		}
	}
	d := compare(t, base, fixed)
	if state, why := d.State(funcs(t, fixed, d)["f"]); state != diff.Same {
		t.Errorf("f is %v: %s", state, why)
	}
}

// bytesOf are the constants of m.
func bytesOf(m *image.Image) []byte {
	for _, s := range m.Sections {
		if s.Name == ".rodata" {
			return s.Data
		}
	}
	return nil
}
