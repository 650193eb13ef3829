package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// Four files of a package: a library whose struct grows, a program that is
// linked to it, one that is not, and a plugin that imports from a third.
const (
	storeSource = `
#include <stdlib.h>
struct entry { long key;
#ifdef FIXED
long deadline;
#endif
long value; };
struct entry *store_new(long k) { struct entry *e = malloc(sizeof *e); e->key = k; e->value = 0;
#ifdef FIXED
e->deadline = 30;
#endif
return e; }
long store_value(struct entry *e) { return e->value; }
void store_set(struct entry *e, long v) { e->value = v; }
`
	userSource = `
struct entry *store_new(long); long store_value(struct entry *);
#ifdef FIXED
#define LIMIT 100
#else
#define LIMIT 1000
#endif
__attribute__((noipa)) int check(int n) { return n < LIMIT ? n : -1; }
int main(int argc, char **argv) { (void)argv; while (check(argc--) > 9); return (int)store_value(store_new(argc)); }
`
	aloneSource = `
#ifdef FIXED
#define LIMIT 100
#else
#define LIMIT 1000
#endif
__attribute__((noipa)) int check(int n) { return n < LIMIT ? n : -1; }
int main(int argc, char **argv) { (void)argv; while (check(argc--) > 9); return 0; }
`
	pluginSource = `
struct entry *store_new(long);
#ifdef FIXED
#define LIMIT 100
#else
#define LIMIT 1000
#endif
void *plugin(int n) { return n < LIMIT ? store_new(n) : 0; }
`
)

func tree(t *testing.T, alone bool, flags ...string) string {
	cc := testkit.Tool(t, "gcc")
	dir := t.TempDir()
	make := func(name, source string, more ...string) {
		t.Helper()
		c := filepath.Join(t.TempDir(), name+".c")
		if err := os.WriteFile(c, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		args := slices.Concat([]string{"-O2", "-g", "-fPIC", "-Wl,--build-id=sha1", "-o", filepath.Join(dir, name), c}, flags, more)
		if text, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", cc, args, err, text)
		}
	}
	make("libstore.so", storeSource, "-shared", "-Wl,-soname,libstore.so")
	make("plugin.so", pluginSource, "-shared")
	make("user", userSource, "-pie", filepath.Join(dir, "libstore.so"))
	if alone {
		make("alone", aloneSource, "-pie")
	}
	return dir
}

func TestPartialBuildLeavesOutWhatIsRefusedAndWhatNeedsIt(t *testing.T) {
	base, fixed := tree(t, true), tree(t, true, "-DFIXED")
	left := []string{"/libstore.so", "/plugin.so", "/user"}

	r, _ := run(t, base, fixed, build.Options{})
	if r.Verdict != patch.Refused || !slices.Equal(r.LeftOut, left) {
		t.Fatalf("verdict %s, could leave out %v: %v", r.Verdict, r.LeftOut, r.Reasons)
	}
	r, b := run(t, base, fixed, build.Options{Partial: true})
	if r.Verdict != patch.Review || !slices.Equal(r.LeftOut, left) || !slices.Equal(codes(r), []string{"image-left-out"}) {
		t.Fatalf("verdict %s, left out %v: %v", r.Verdict, r.LeftOut, r.Reasons)
	}
	for i, want := range []string{"layout-changed (struct entry: ", "/libstore.so is left out, and this one imports store_new from it", "/libstore.so is left out, and this one is linked to it"} {
		if !strings.Contains(r.Reasons[i].Detail, want) {
			t.Errorf("%v, want %q", r.Reasons[i], want)
		}
	}
	m := b.Manifest
	if len(m.Images) != 1 || m.Images[0].Path != "/alone" || len(m.LeftOut) != 3 || m.Mode != patch.Strict {
		t.Fatalf("images %v, left out %v, mode %s", m.Images, m.LeftOut, m.Mode)
	}
	for i, l := range m.LeftOut {
		if l.Path != left[i] || l.BuildIDBase == "" || l.BuildIDFixed == "" || l.BuildIDBase == l.BuildIDFixed {
			t.Errorf("left out: %+v", l)
		}
	}
}

func TestPartialBuildIsRefusedWhereNothingRemains(t *testing.T) {
	r, _ := run(t, tree(t, false), tree(t, false, "-DFIXED"), build.Options{Partial: true})
	if r.Verdict != patch.Refused || len(r.LeftOut) != 0 || !slices.Contains(codes(r), "layout-changed") {
		t.Errorf("verdict %s, left out %v: %v", r.Verdict, r.LeftOut, r.Reasons)
	}
}

func TestPartialBuildOfAWholePackageLeavesOutNothing(t *testing.T) {
	base, fixed := compile(t, "function.c", debugged)
	r, b := run(t, base, fixed, build.Options{Partial: true})
	if r.Verdict != patch.Clean || len(r.LeftOut) != 0 || b.Manifest.LeftOut != nil {
		t.Errorf("verdict %s, left out %v: %v", r.Verdict, r.LeftOut, r.Reasons)
	}
}
