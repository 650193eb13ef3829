package build_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// splitDebug moves the debug information of path to a file of its own and
// returns the names of both.
func splitDebug(t *testing.T, path string) (bare, debug string) {
	t.Helper()
	bare, debug = path+".bare", path+".bare.debug"
	for _, args := range [][]string{
		{"objcopy", "--only-keep-debug", path, debug},
		{"objcopy", "--strip-all", "--add-gnu-debuglink=" + debug, path, bare},
	} {
		testkit.Tool(t, args[0])
		if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	return bare, debug
}

func TestDebuginfodSuppliesTypes(t *testing.T) {
	t.Parallel()
	x, y := compile(t, "debugfiles.c", debugged)
	base, baseDebug := splitDebug(t, x)
	fixed, fixedDebug := splitDebug(t, y)
	files := map[string]string{}
	for bare, debug := range map[string]string{base: baseDebug, fixed: fixedDebug} {
		id, err := image.ReadBuildID(bare)
		if err != nil {
			t.Fatal(err)
		}
		files["/some/where/buildid/"+string(id)+"/debuginfo"] = debug
	}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if f, ok := files[r.URL.Path]; ok {
			http.ServeFile(w, r, f)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	cache := t.TempDir()
	o := build.Options{Debuginfod: build.Debuginfod{URLs: []string{server.URL + "/nothing", server.URL + "/some/where"}, Cache: cache}}
	for round := range 2 {
		rep, _, err := build.Build(context.Background(), base, fixed, o)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Verdict != patch.Clean {
			t.Errorf("round %d: %s %v, want clean with the types that the server has", round, rep.Verdict, rep.Reasons)
		}
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times, want 2 files at 2 addresses, once", n)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, ".fetching*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDebuginfodIsNotBelieved(t *testing.T) {
	t.Parallel()
	x, y := compile(t, "debugfiles.c", debugged)
	base, baseDebug := splitDebug(t, x)
	fixed, _ := splitDebug(t, y)
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		max    int64
		want   string
	}{
		{name: "the file of another image", answer: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, baseDebug) }, want: "debug file of"},
		{name: "not ELF", answer: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, want: "not an ELF file"},
		{name: "too large", answer: func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, baseDebug) }, max: 100, want: "at most 100"},
		{name: "larger than said", answer: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			for range 200 {
				fmt.Fprint(w, "more")
			}
		}, max: 100, want: "more than 100"},
		{name: "an error", answer: func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 500) }, want: "500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			cache := t.TempDir()
			o := build.Options{DebugBase: baseDebug, Debuginfod: build.Debuginfod{URLs: []string{server.URL}, Cache: cache, MaxBytes: c.max}}
			_, _, err := build.Build(context.Background(), base, fixed, o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(cache); len(left) > 0 {
				t.Errorf("%s was kept", left[0].Name())
			}
			o.Debuginfod.Optional = true
			rep, _, err := build.Build(context.Background(), base, fixed, o)
			if err != nil || rep.Verdict != patch.Review {
				t.Errorf("optional: %v, error %v", rep, err)
			}
		})
	}
}

func TestDebugLinkIsFollowed(t *testing.T) {
	t.Parallel()
	x, y := compile(t, "debugfiles.c", debugged)
	base, baseDebug := splitDebug(t, x)
	fixed, fixedDebug := splitDebug(t, y)
	o := build.Options{DebugBase: filepath.Dir(baseDebug), DebugFixed: filepath.Dir(fixedDebug)}
	rep, _, err := build.Build(context.Background(), base, fixed, o)
	if err != nil || rep.Verdict != patch.Clean {
		t.Errorf("%v, error %v", rep, err)
	}
}
