package types_test

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/testkit"
	"hotpatch/internal/types"
)

var dwzC = map[string]string{
	"shared.h": `
struct used { long a; int b; struct { int x, y; } in; };
struct hidden; struct option { char name[40]; int (*call)(struct used *, enum mode *); };
enum mode { OFF, ON }; enum { FIRST, SECOND };
typedef struct { char buf[64]; long n; } pack;
union value { long n; double d; };
extern union value table[4];
`,
	"one.c": `
#include <stdio.h>
#include <stdlib.h>
#include "shared.h"
struct only { int q; pack *p; } only = {1, 0};
long one(void *p) { struct used *u = p; struct local { int k; } l = { u->b }; return u->a + l.k + ((struct option *)p)->name[0]; }
`,
	"two.c": `
#include <stdio.h>
#include "shared.h"
enum mode now;
union value table[4];
long one(void *);
long two(pack *p) { struct local { long k, j; } l = { p->n, 1 }; return l.k + l.j + table[p->n & 3].n + ((struct used *)p)->b; }
#ifndef OTHER
int main(int n, char **v) { pack p = { .n = n }; printf("%s %ld %d\n", v[0], one(&p), SECOND); return two(&p) + now; }
#else
int main(int n, char **v) { FILE *f = stdin; puts(v[0]); return n + one(f); }
#endif
`,
}

var dwzCC = map[string]string{
	"shared.h": `
#include <initializer_list>
namespace geo { struct Name { char *text; long length; }; }
struct Shape { virtual ~Shape(); virtual int area() const; char c; char32_t rune; };
namespace geo { class Square : public Shape { public: int side = 2; geo::Name name; int area() const override; }; }
`,
	"one.cc": "#include \"shared.h\"\nShape::~Shape() {}\nint Shape::area() const { return c; }\nint geo::Square::area() const { return side + name.length; }\n",
	"two.cc": `
#include "shared.h"
std::initializer_list<int> list = {1, 2};
geo::Square all[7];
int main(int n, char **v) {
	all[n].name.text = v[0];
#ifdef OTHER
	all[n + 1].side = 1;
#endif
	return all[n].area() + list.size();
}
`,
}

// dwz runs it over copies of the files and returns these.
func dwz(t testing.TB, args []string, files ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var out []string
	for i, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(name, b, 0o755); err != nil {
			t.Fatal(err)
		}
		out = append(out, name)
	}
	cmd := exec.Command(testkit.Tool(t, "dwz"), append(args, out...)...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dwz: %v\n%s", err, text)
	}
	return out
}

// dwzWays are the ways in which it shares types out.
var dwzWays = []struct {
	name   string
	flags  []string // of the compiler
	args   []string
	common bool // two programs share a file
}{
	{name: "within a file"},
	{name: "within a file of DWARF 4", flags: []string{"-gdwarf-4"}},
	{name: "between files", args: []string{"-m", "common", "-r"}, common: true},
	{name: "between files of DWARF 4", flags: []string{"-gdwarf-4"}, args: []string{"-m", "common", "-r"}, common: true},
	{name: "within a file of LTO", flags: []string{"-flto=1"}},
	{name: "between files of LTO", flags: []string{"-flto=1"}, args: []string{"-m", "common", "-r"}, common: true},
	{name: "within a file with type units", flags: typeUnits[0]},
	{name: "between files with type units", flags: typeUnits[0], args: []string{"-m", "common", "-r"}, common: true},
	{name: "between files, as DWARF 5 has it", args: []string{"-5", "-m", "common", "-r"}, common: true},
}

func TestTypesSharedOutByDwzAreTheSame(t *testing.T) {
	testkit.Tool(t, "dwz")
	for _, source := range []map[string]string{dwzC, dwzCC} {
		for _, way := range dwzWays {
			lang := "C "
			if source["one.c"] == "" {
				lang = "C++ "
			}
			t.Run(lang+way.name, func(t *testing.T) {
				t.Parallel()
				flags := append([]string{"-g"}, way.flags...)
				plain := []string{compileFiles(t, source, flags...), compileFiles(t, source, append(flags, "-DOTHER")...)}
				for i, path := range dwz(t, way.args, plain...) {
					m := open(t, path)
					link, err := m.SharedLink()
					if err != nil || (link != nil) != way.common {
						t.Fatalf("link %v, error %v", link, err)
					}
					if link != nil {
						if !filepath.IsAbs(link.Path) {
							link.Path = filepath.Join(filepath.Dir(path), link.Path)
						}
						if err := m.AttachShared(link.Path); err != nil {
							t.Fatal(err)
						}
					}
					want, err := types.UnitTypes(open(t, plain[i]))
					if err != nil {
						t.Fatal(err)
					}
					got, err := types.UnitTypes(m)
					if err != nil {
						t.Fatal(err)
					}
					if len(want) < 3 {
						t.Fatalf("only units %q", slices.Collect(maps.Keys(want)))
					}
					for name, w := range want {
						if got[name] != w {
							t.Errorf("unit %q of program %d: %s", name, i, firstDifference(got[name], w))
						}
						delete(got, name)
					}
					if len(got) != 0 {
						t.Errorf("and more units: %q", slices.Collect(maps.Keys(got)))
					}
				}
			})
		}
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "got " + a[i] + "\nwant " + b[i]
		}
	}
	return "one has more lines"
}

// FuzzSharedTypes is FuzzTypes of debug information that dwz shared out.
func FuzzSharedTypes(f *testing.F) {
	for _, flags := range [][]string{{"-gdwarf-4"}, {"-gdwarf-5"}, typeUnits[0]} {
		for _, args := range [][]string{{"-m", "common", "-M", "common"}, {"-5", "-m", "common", "-M", "common"}} {
			small := append([]string{"-nostdlib", "-nostartfiles", "-Wl,-e,main"}, flags...)
			const source = `
enum mode { OFF, ON }; struct s { int flag : 3; enum mode mode[4]; struct s *next; union { long n; double d; }; char name[80]; };
typedef struct { struct s *next; int (*call)(const volatile void *); } node;
node list; int main(void) { return list.next->flag + list.next->mode[1]; }
`
			one := compileFiles(f, map[string]string{"a.c": source}, small...)
			two := compileFiles(f, map[string]string{"a.c": source, "b.c": strings.Replace(source, "main", "other", 1)}, append(small, "-fcommon")...)
			files := dwz(f, args, one, two)
			seeds := debugSections(f, files[0])
			seeds = append(seeds, debugSections(f, filepath.Join(filepath.Dir(files[0]), "common"))...)
			f.Add(seeds[0], seeds[1], seeds[2], seeds[3], seeds[4], seeds[5], section(f, files[0], ".debug_types"))
		}
	}
	f.Fuzz(func(t *testing.T, abbrev, info, str, sharedAbbrev, sharedInfo, sharedStr, ofTypes []byte) {
		d, err := dwarf.New(abbrev, nil, nil, info, nil, nil, nil, str)
		if err != nil {
			return
		}
		s, err := dwarf.New(sharedAbbrev, nil, nil, sharedInfo, nil, nil, nil, sharedStr)
		if err != nil {
			return
		}
		w := &image.DWARF{Data: d, Shared: s, SharedStrings: sharedStr}
		if err := w.ReadTypeUnits(bytes.NewReader(info), ofTypes, abbrev, str); err != nil {
			return
		}
		n, err := types.ReadOne(w)
		if size := len(info) + len(ofTypes) + len(sharedInfo); err == nil && n > size+1 {
			t.Errorf("%d types of %d bytes", n, size)
		}
	})
}

// debugSections are .debug_abbrev, .debug_info and .debug_str.
func debugSections(t testing.TB, path string) [][]byte {
	t.Helper()
	var out [][]byte
	for _, name := range []string{".debug_abbrev", ".debug_info", ".debug_str"} {
		out = append(out, section(t, path, name))
	}
	return out
}

// section is the content of a section, nil when there is none.
func section(t testing.TB, path, name string) []byte {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(name)
	if s == nil {
		return nil
	}
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
