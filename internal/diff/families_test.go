package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// numberedByPlace has closures and static variables that the compiler tells apart by
// their place in the function.
const numberedByPlace = `
#include <functional>
#include <cstdio>
std::function<int(int)> *fa, *fb;
__attribute__((noinline)) void setup(int x, int y, const char *name) {
#ifdef FIXED
  fb = new std::function<int(int)>([name, x](int n) { return name[x] + n; });
  fa = new std::function<int(int)>([x, y](int n) { return x * 100 + y * 10 + n; });
#else
  fa = new std::function<int(int)>([x, y](int n) { return x * 100 + y * 10 + n; });
  fb = new std::function<int(int)>([name, x](int n) { return name[x] + n; });
#endif
}
__attribute__((noinline)) int swapped(int n, int k) {
#ifdef FIXED
  if (!k) { static int cnt; cnt += 1; return cnt; }
  { static int cnt; if (n > 90) return -1; cnt += n; return cnt; }
#else
  if (k) { static int cnt; cnt += n; return cnt; }
  { static int cnt; cnt += 1; return cnt; }
#endif
}
__attribute__((noinline)) int kept(int n, int k) {
#ifdef FIXED
  if (n > 90) return -1;
#endif
  if (k) { static volatile int sum; sum += n; return sum; }
  { static volatile int sum; sum += 1; return sum; }
}
int main(int argc, char **argv) {
  setup(argc, 2, argv[0]);
  printf("%d %d %d %d %d\n", (*fa)(1), (*fb)(1), swapped(argc, 1), swapped(argc, 0), kept(argc, argc));
}
`

func TestNamesNumberedByPlaceSayNotWhich(t *testing.T) {
	base := compileFiles(t, map[string]string{"victim.cc": numberedByPlace}, "-g")
	fixed := compileFiles(t, map[string]string{"victim.cc": numberedByPlace}, "-g", "-DFIXED")
	d := compare(t, base, fixed)
	pairs := 0
	for name, f := range funcs(t, fixed, d) {
		if !strings.Contains(name, "UliE") || !strings.Contains(name, "_M_invoke") {
			continue
		}
		a := d.BaseOf(f)
		if a == nil || a.Hash != f.Hash || a.Name() == f.Name() {
			t.Errorf("%s of the fixed program is paired with %v, which does not do the same", name, a)
		}
		pairs++
	}
	if pairs != 2 {
		t.Fatalf("there are %d closures, not 2", pairs)
	}
	for _, c := range []struct {
		name string
		same bool
	}{{"_ZZ7swappediiE3cnt", false}, {"_ZZ7swappediiE3cnt_0", false}, {"_ZZ4keptiiE3sum", true}, {"_ZZ4keptiiE3sum_0", true}} {
		b := d.Map(symbolOf(t, fixed, c.name))
		if b.OK() != c.same || c.same && b.Base != symbolOf(t, base, c.name) {
			t.Errorf("%s is bound to %#x (%s)", c.name, uint64(b.Base), b.Why)
		}
	}
}

func TestNamesNumberedByLinkOrderSayNotWhich(t *testing.T) {
	file := func(x, k string) string {
		return strings.NewReplacer("X", x, "K", k).Replace(`
typedef int (*cb)(int);
extern cb reg_X;
extern int *total_X;
__attribute__((noinline)) static int handler(int n) { *total_X += n * K; if (LIMIT) return -1; return *total_X * K; }
__attribute__((noinline)) void setup_X(void) { if (!reg_X) reg_X = handler; }
`)
	}
	const rest = `
typedef int (*cb)(int);
static int ta, tb;
cb reg_a, reg_b;
int *total_a = &ta, *total_b = &tb;
void setup_a(void); void setup_b(void);
int main(int argc, char **argv) { setup_a(); setup_b(); return reg_a(argc) + reg_b(argc); }
`
	base := compileFiles(t, map[string]string{"a.c": file("a", "2"), "b.c": file("b", "3"), "main.c": rest}, "-flto", "-DLIMIT=0")
	fixed := compileFiles(t, map[string]string{"z.c": file("a", "2"), "b.c": file("b", "3"), "main.c": rest}, "-flto", "-DLIMIT=(n>90)")
	d := compare(t, base, fixed)
	found := 0
	for name, f := range funcs(t, fixed, d) {
		if !strings.HasPrefix(name, "handler.") {
			continue
		}
		found++
		a := d.BaseOf(f)
		if a == nil {
			continue // not knowing is right, too
		}
		users := func(c *diff.Code, f *diff.Func) string {
			for _, name := range []string{"total_a", "total_b"} {
				for k := range f.Refs {
					for _, s := range c.SymbolsAt(f.Refs[k].Target) {
						if s.Name == name {
							return name
						}
					}
				}
			}
			return "?"
		}
		if users(d.Base, a) != users(d.Fixed, f) {
			t.Errorf("%s is paired with the handler of the other file", name)
		}
	}
	if found != 2 {
		t.Fatalf("there are %d handlers, not 2", found)
	}
}
