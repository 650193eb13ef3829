package build_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

const sharedHeader = `
#include <stdio.h>
struct conn { char *name; long bytes; int state; };
struct option { char name[40]; int (*call)(struct conn *); struct conn *of; };
enum mode { OFF, ON, MODES };
typedef struct { char buf[64]; long n; enum mode mode; } pack;
union value { long n; double d; pack *p; };
struct inner {
#ifdef GROWN
	long more;
#endif
	int flag;
};
struct outer { struct inner in; union value v; };
#ifdef FIXED
#define LIMIT 64
#else
#define LIMIT 65
#endif
`

// Two programs of one package, each of two files with the types in a header: dwz
// has much to share.
var sharedPrograms = map[string][]string{
	"one": {`#include "shared.h"
long use(struct outer *o, struct option *p) { return o->in.flag + o->v.n + p->call(p->of); }
`, `#include "shared.h"
long use(struct outer *o, struct option *p);
static int call(struct conn *c) { return c->state; }
__attribute__((noinline, noipa)) int check(pack *p, struct outer *o) { return p->n < LIMIT && o->in.flag > 1; }
int main(int n, char **v) {
	struct conn c = { v[0], n, n }; struct option p = { "x", call, &c }; pack k = { .n = n }; struct outer o = { .v.p = &k };
	while (printf("%ld %d\n", use(&o, &p), check(&k, &o)) < 0);
	return 0;
}
`},
	"two": {`#include "shared.h"
long use(struct outer *o, struct option *p) { return o->in.flag * p->call(p->of); }
`, `#include "shared.h"
long use(struct outer *o, struct option *p);
int main(int n, char **v) {
	struct conn c = { v[0], n, n }; struct option p = { "x", 0, &c }; pack k = { .mode = ON }; struct outer o = { .v.p = &k };
	return use(&o, &p) + LIMIT;
}
`},
}

// compileShared builds both programs in a directory and splits their debug
// files off, under their names by build-id.
func compileShared(t *testing.T, flags ...string) (dir string, debug []string) {
	t.Helper()
	dir = t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(testkit.Tool(t, name), args...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, text)
		}
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("shared.h", sharedHeader)
	for _, name := range []string{"one", "two"} {
		put("a.c", sharedPrograms[name][0])
		put("b.c", sharedPrograms[name][1])
		run("gcc", append([]string{"-g", "-O2", "-fPIE", "-pie", "-fcf-protection=none", "-Wl,--build-id=sha1", "-o", name, "a.c", "b.c"}, flags...)...)
		id, err := image.ReadBuildID(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("debug", ".build-id", string(id[:2]), string(id[2:])+".debug")
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		run("objcopy", "--only-keep-debug", name, file)
		run("strip", name)
		debug = append(debug, filepath.Join(dir, file))
	}
	return dir, debug
}

// dwzWays are the ways in which packages come out of dwz.
var dwzWays = []struct {
	name string
	args []string
	// after is run on the supplementary file, in the directory "debug".
	after []string
	gone  bool // it is nowhere: types cannot be read
	asked bool // a server has it
}{
	{name: "not at all"},
	{name: "each file for itself", args: []string{}},
	{name: "common, relative", args: []string{"-r", "-m", ".dwz/common.debug"}},
	{name: "common, where the system has it", args: []string{"-m", ".dwz/common.debug", "-M", "/usr/lib/debug/.dwz/x86_64-linux-gnu/no such package/common.debug"},
		after: []string{"sh", "-c", "mkdir -p '.dwz/x86_64-linux-gnu/no such package' && mv .dwz/common.debug '.dwz/x86_64-linux-gnu/no such package'"}},
	{name: "common, of DWARF 5", args: []string{"-r", "-5", "-m", ".dwz/common.debug"}},
	{name: "common, by build-id", args: []string{"-m", ".dwz/common.debug", "-M", "elsewhere"}, after: []string{"sh", "-c",
		`id=$(readelf -n .dwz/common.debug | sed -n 's/.*Build ID: //p'); r=${id#??}; d=.build-id/${id%$r}; mkdir -p $d && mv .dwz/common.debug $d/$r.debug`}},
	{name: "common, compressed", args: []string{"-r", "-m", ".dwz/common.debug"}, after: []string{"objcopy", "--compress-debug-sections=zlib", ".dwz/common.debug"}},
	{name: "common, from a server", args: []string{"-r", "-m", ".dwz/common.debug"}, after: []string{"mv", ".dwz/common.debug", "served"}, asked: true},
	{name: "common, lost", args: []string{"-r", "-m", ".dwz/common.debug"}, after: []string{"rm", ".dwz/common.debug"}, gone: true},
	{name: "common, another", args: []string{"-r", "-m", ".dwz/common.debug"}, after: []string{"sh", "-c",
		`objcopy --remove-section .note.gnu.build-id .dwz/common.debug 2>&1`}, gone: true},
}

func TestTypesThatDwzSharedOutGiveTheSameVerdict(t *testing.T) {
	testkit.Tool(t, "dwz")
	for _, grown := range []bool{false, true} {
		for _, way := range dwzWays {
			name := "fix alone/" + way.name
			if grown {
				name = "struct grew/" + way.name
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				base, baseDebug := compileShared(t)
				flags := []string{"-DFIXED"}
				if grown {
					flags = append(flags, "-DGROWN")
				}
				fixed, fixedDebug := compileShared(t, flags...)
				o := build.Options{DebugBase: filepath.Join(base, "debug"), DebugFixed: filepath.Join(fixed, "debug")}
				served := map[string]string{}
				for dir, files := range map[string][]string{base: baseDebug, fixed: fixedDebug} {
					if way.args != nil {
						dwzIn(t, filepath.Join(dir, "debug"), way.args, files, way.after)
					}
					if id, err := image.ReadBuildID(filepath.Join(dir, "debug/served")); err == nil {
						served["/buildid/"+string(id)+"/debuginfo"] = filepath.Join(dir, "debug/served")
					}
				}
				if way.asked {
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, served[r.URL.Path]) }))
					defer server.Close()
					o.Debuginfod = build.Debuginfod{URLs: []string{server.URL}, Cache: t.TempDir()}
				}
				rep, _, err := build.Build(context.Background(), filepath.Join(base, "one"), filepath.Join(fixed, "one"), o)
				if err != nil {
					t.Fatal(err)
				}
				checkShared(t, rep, way.gone, grown)
				if from := rep.Images[0].TypesBase; from == nil || from.File != baseDebug[0] || (from.Shared != "") != (strings.Contains(way.name, "common") && !way.gone) || (from.Missing != "") != way.gone {
					t.Errorf("types of the base came from %+v", from)
				}
			})
		}
	}
}

func dwzIn(t *testing.T, dir string, args, files, after []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, ".dwz"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{append(append([]string{"dwz"}, args...), files...), after} {
		if len(c) == 0 {
			continue
		}
		cmd := exec.Command(testkit.Tool(t, c[0]), c[1:]...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
			t.Fatalf("%v: %v\n%s", c, err, text)
		}
	}
}

func checkShared(t *testing.T, rep *build.Report, gone, grown bool) {
	t.Helper()
	has := func(code, text string) bool {
		return slices.ContainsFunc(rep.Reasons, func(r patch.Reason) bool { return r.Code == code && strings.Contains(r.Detail, text) })
	}
	switch {
	case gone && rep.Verdict == patch.Clean:
		t.Error("clean without types")
	case gone && !has("layout-unverified", "supplementary file is missing: "):
		t.Errorf("%v does not say that a file is missing", rep.Reasons)
	case gone:
	case grown && (rep.Verdict != patch.Refused || !has("layout-changed", "struct inner")):
		t.Errorf("%s %v, want struct inner refused", rep.Verdict, rep.Reasons)
	case !grown && rep.Verdict != patch.Clean:
		t.Errorf("%s %v, want clean", rep.Verdict, rep.Reasons)
	}
}
