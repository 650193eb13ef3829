package rebuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hotpatch/internal/rebuild"
	"hotpatch/internal/testkit"
)

// open is a directory that nobody may enter, who builds when root tests.
func open(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tree copies the source package of testdata, with one edit.
func tree(t *testing.T, from, to string) string {
	t.Helper()
	dir := filepath.Join(open(t), "tiny-1.0")
	if err := os.CopyFS(dir, os.DirFS("testdata/tiny")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "debian/rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	if from != "" {
		path := filepath.Join(dir, "tiny.c")
		if err := os.WriteFile(path, []byte(edit(t, tinySource(t), from, to)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sourcePackage makes the .dsc of a tree.
func sourcePackage(t *testing.T, tree string) string {
	t.Helper()
	dir := filepath.Dir(tree)
	testkit.Run(t, "tar", "-C", dir, "--exclude=debian", "-czf", filepath.Join(dir, "tiny_1.0.orig.tar.gz"), filepath.Base(tree))
	cmd := exec.Command("dpkg-source", "-b", filepath.Base(tree))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dpkg-source: %v\n%s", err, out)
	}
	return filepath.Join(dir, "tiny_1.0-2.dsc")
}

// shippedPackage builds the tree as the distribution does, and returns the
// directory that the package is in.
func shippedPackage(t *testing.T, tree string) string {
	t.Helper()
	cmd := exec.Command("dpkg-buildpackage", "-us", "-uc", "-B")
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "DEB_BUILD_OPTIONS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "nmet build dependencies") {
			testkit.Skip(t, "build-essential is not installed")
		}
		t.Fatalf("dpkg-buildpackage: %v\n%s", err, out)
	}
	return filepath.Dir(tree)
}

// pristine is the source of testdata as it is, and the directory of the package
// that was shipped; both are made once for all tests.
func pristine(t *testing.T) (dsc, debs string) {
	t.Helper()
	testkit.Tools(t, "dpkg-buildpackage", "gcc", "make", "strip")
	once.Do(func() {
		dir := tree(t, "", "")
		made := []string{sourcePackage(t, dir), shippedPackage(t, dir)}
		if err := os.CopyFS(shared, os.DirFS(filepath.Dir(dir))); err != nil {
			t.Fatal(err)
		}
		once.made = filepath.Base(made[0])
	})
	if once.made == "" {
		testkit.Skip(t, "the package to compare with could not be made: see the first test")
	}
	return filepath.Join(shared, once.made), shared
}

var once struct {
	sync.Once
	made string
}

// shared is a directory that outlives a test.
var shared string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rebuild-test")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		panic(err)
	}
	shared = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func options(t *testing.T, debs string) rebuild.Options {
	return rebuild.Options{
		Output: t.TempDir(), Work: open(t), Debs: []string{debs}, Jobs: 1, Timeout: time.Minute,
	}
}

func TestSourcePackageIsRebuiltAndCompared(t *testing.T) {
	dsc, debs := pristine(t)
	o := options(t, debs)

	var steps []string
	o.Progress = func(pkg, step string) { steps = append(steps, pkg+" "+step) }
	rep, err := rebuild.Run(context.Background(), []string{dsc}, o)
	if err != nil {
		t.Fatal(err)
	}
	p := rep.Packages[0]
	if p.Err() != nil || p.Source != "tiny" || p.Version != "1:1.0-2" || len(p.Images) != 1 || p.Cached {
		t.Fatalf("%+v", p)
	}
	im := p.Images[0]
	if !im.Verified || im.Path != "/usr/bin/tiny" || im.Package != "tiny" || im.Functions < 5 || im.Identical != im.Functions || im.DebugFile == "" {
		t.Errorf("%+v", im)
	}
	if !strings.Contains(im.String(), "layout verified by a rebuild") {
		t.Errorf("%s", &im)
	}
	if e, err := rebuild.ReadEvidence(im.DebugFile); err != nil || e.Source != "tiny" || e.Path != im.Path {
		t.Errorf("%+v, %v", e, err)
	}
	id := string(im.BuildID)
	if want := filepath.Join(o.Output, ".build-id", id[:2], id[2:]+".debug"); im.DebugFile != want {
		t.Errorf("kept as %s, want %s", im.DebugFile, want)
	}
	var beside rebuild.Image
	text, err := os.ReadFile(strings.TrimSuffix(im.DebugFile, ".debug") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &beside); err != nil || beside.BuildID != im.BuildID || beside.DebugFile != im.DebugFile {
		t.Errorf("manifest: %+v, %v", beside, err)
	}
	if len(steps) == 0 || !strings.HasPrefix(steps[len(steps)-1], "tiny=1:1.0-2 comparing") {
		t.Errorf("steps %q", steps)
	}

	t.Run("not twice", func(t *testing.T) {
		steps = nil
		rep, err := rebuild.Run(context.Background(), []string{dsc}, o)
		if err != nil {
			t.Fatal(err)
		}
		if p := rep.Packages[0]; !p.Cached || len(p.Images) != 1 || !p.Images[0].Verified || len(steps) != 0 {
			t.Errorf("%+v, steps %q", p, steps)
		}
		if err := os.Remove(im.DebugFile); err != nil {
			t.Fatal(err)
		}
		if rep, err = rebuild.Run(context.Background(), []string{dsc}, o); err != nil || rep.Packages[0].Cached {
			t.Errorf("with its debug file gone: %+v, %v", rep, err)
		}
		if _, err := os.Stat(im.DebugFile); err != nil {
			t.Error(err)
		}
	})
}

// A source that is not the one of the shipped package, in one function: it is
// named, loses its name, and the types are not trusted.
func TestTamperedFunctionIsNamedAndNotTrusted(t *testing.T) {
	_, debs := pristine(t)
	o := options(t, debs)
	dsc := sourcePackage(t, tree(t, "1000000", "999999"))
	rep, err := rebuild.Run(context.Background(), []string{dsc}, o)
	if err != nil {
		t.Fatal(err)
	}
	p := rep.Packages[0]
	if p.Err() != nil || len(p.Images) != 1 {
		t.Fatalf("%+v", p)
	}
	im := p.Images[0]
	if im.Verified || len(im.Unmatched) != 1 || im.Unmatched[0].Function != "deposit" || im.Unmatched[0].Kind != rebuild.Code {
		t.Errorf("%+v", im)
	}
	if text := im.String(); !strings.Contains(text, "not verified") || !strings.Contains(text, "deposit") {
		t.Errorf("%q", text)
	}
	if e, err := rebuild.ReadEvidence(im.DebugFile); err != nil || e.Verified {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestFailuresNameThePackageAndTheStep(t *testing.T) {
	_, shipped := pristine(t)
	broken := sourcePackage(t, tree(t, "int main", "#error this cannot be compiled\nint main"))
	slow := tree(t, "", "")
	appendTo(t, filepath.Join(slow, "debian/rules"), "\nbuild: wait\nwait:\n\tsleep 300\n")
	needy := tree(t, "", "")
	control, err := os.ReadFile(filepath.Join(needy, "debian/control"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(control), "Standards-Version", "Build-Depends: no-such-package (>= 3), gcc\nStandards-Version", 1)
	if err := os.WriteFile(filepath.Join(needy, "debian/control"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	altered := sourcePackage(t, tree(t, "", ""))
	appendTo(t, filepath.Join(filepath.Dir(altered), "tiny_1.0.orig.tar.gz"), "x")

	for _, c := range []struct {
		name, dsc, step, want string
		timeout               time.Duration
		tail                  string
	}{
		{"compiler", broken, "build", "tiny=1:1.0-2", time.Minute, "this cannot be compiled"},
		{"time", sourcePackage(t, slow), "build", "not done after 2s", 2 * time.Second, ""},
		{"dependencies", sourcePackage(t, needy), "build", "no-such-package (>= 3)", time.Minute, ""},
		{"digest", altered, "rebuild", "orig.tar.gz", time.Minute, ""},
		{"no file", filepath.Join(shipped, "absent.dsc"), "rebuild", "no such file", time.Minute, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, shipped)
			o.Timeout = c.timeout
			rep, err := rebuild.Run(context.Background(), []string{c.dsc}, o)
			if err != nil {
				t.Fatal(err)
			}
			var step *rebuild.StepError
			if err := rep.Packages[0].Err(); !errors.As(err, &step) || step.Step != c.step || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want step %q and %q", err, c.step, c.want)
			}
			if c.tail != "" && !strings.Contains(strings.Join(step.Tail, "\n"), c.tail) {
				t.Errorf("the end of the log does not say %q: %q", c.tail, step.Tail)
			}
			if c.name == "dependencies" {
				var missing *rebuild.MissingError
				if !errors.As(step, &missing) || len(missing.Packages) != 1 || !strings.Contains(missing.Command, "build-dep") {
					t.Errorf("%v", step)
				}
			}
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPlacesThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		target string
		change func(*rebuild.Options)
		want   string
	}{
		{"no version", "redis", nil, "neither PACKAGE=VERSION"},
		{"bad name", "-rf=1", nil, "bad package name"},
		{"bad version", "redis=:", nil, "redis=:"},
		{"no Debian root", "redis=1", func(o *rebuild.Options) { o.Chroot = t.TempDir() }, "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, t.TempDir())
			if c.change != nil {
				c.change(&o)
			}
			if _, err := rebuild.Run(context.Background(), []string{c.target}, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Root does not build, and who builds has to get there.
func TestDirectoryClosedToTheBuilderIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root lets somebody else build")
	}
	testkit.Tools(t, "dpkg-source")
	o := options(t, t.TempDir())
	o.Work = filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(o.Work, 0o700); err != nil {
		t.Fatal(err)
	}
	rep, err := rebuild.Run(context.Background(), []string{sourcePackage(t, tree(t, "", ""))}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := rep.Packages[0].Err(); err == nil || !strings.Contains(err.Error(), "may not enter") {
		t.Errorf("got %v", err)
	}
}

func TestInterruptedRunEndsAndLeavesNoBuildBehind(t *testing.T) {
	_, shipped := pristine(t)
	slow := tree(t, "", "")
	marker := "300.75"
	appendTo(t, filepath.Join(slow, "debian/rules"), "\nbuild: wait\nwait:\n\tsleep "+marker+"\n")
	o := options(t, shipped)
	ctx, cancel := context.WithCancel(context.Background())
	o.Progress = func(_, step string) {
		if strings.HasPrefix(step, "building") {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	}
	if _, err := rebuild.Run(ctx, []string{sourcePackage(t, slow)}, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if !running(t, marker) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a program of the build is still running")
		}
	}
}

// running looks for a program with this argument.
func running(t *testing.T, arg string) bool {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if text, err := os.ReadFile(n); err == nil && strings.Contains(string(text), "sleep\x00"+arg) {
			return true
		}
	}
	return false
}
