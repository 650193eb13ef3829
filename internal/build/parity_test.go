package build_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/build"
	"hotpatch/internal/image"
	"hotpatch/internal/patch"
	"hotpatch/internal/testkit"
)

// makeDeb writes a package NAME_VERSION.deb with these files into dir.
func makeDeb(t testing.TB, dir, name, version, arch string, files map[string][]byte, fields ...string) string {
	t.Helper()
	pack := func(files map[string][]byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, data := range files {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data)), Format: tar.FormatGNU}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var log bytes.Buffer
	z := gzip.NewWriter(&log)
	fmt.Fprintf(z, "src-%[1]s (%[2]s) stable; urgency=high\n\n  * Fix CVE-2026-1111.\n\n -- A <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n\nsrc-%[1]s (1.0-1) stable; urgency=low\n\n  * CVE-2020-1111.\n\n -- A <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n", name, version)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{"./usr/share/doc/" + name + "/changelog.Debian.gz": log.Bytes()}
	for k, v := range files {
		all[k] = v
	}
	control := fmt.Sprintf("Package: %s\nSource: src-%s\nVersion: %s\nArchitecture: %s\n", name, name, version, arch) + strings.Join(fields, "")
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", pack(map[string][]byte{"./control": []byte(control)})}, {"data.tar", pack(all)}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	path := filepath.Join(dir, name+"_"+version+".deb")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// update makes both versions of a package that holds one compiled pair.
func update(t testing.TB, name, fixture string) build.Pair {
	t.Helper()
	b, f := compile(t, fixture+".c", debugged)
	dir := t.TempDir()
	p := build.Pair{Source: "src-" + name, Package: name, BaseVersion: "1.0-1", FixedVersion: "1.0-2"}
	p.BaseFile = makeDeb(t, dir, name, p.BaseVersion, "amd64", map[string][]byte{"./usr/bin/" + name: content(t, b)})
	p.FixedFile = makeDeb(t, dir, name, p.FixedVersion, "amd64", map[string][]byte{"./usr/bin/" + name: content(t, f)})
	return p
}

func assess(t testing.TB, p build.Pair) build.Assessment {
	t.Helper()
	a, err := build.Assess(context.Background(), p, build.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAssessSaysWhatCameOut(t *testing.T) {
	a := assess(t, update(t, "limit", "limit"))
	if !a.Outcome.Hotpatchable() || a.Images != 1 || a.Counts.Changed == 0 || a.HotpatchSize == 0 || a.UpdateSize == 0 || a.Seconds <= 0 {
		t.Errorf("%+v", a)
	}
	if d := cmp.Diff([]string{"CVE-2026-1111"}, a.CVEs); d != "" {
		t.Error(d)
	}
	a = assess(t, update(t, "layout", "layout"))
	if a.Outcome != build.OutcomeRefused || len(a.Reasons) == 0 || a.HotpatchSize != 0 || len(a.CVEs) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestAssessTellsPackagesWithoutCodeApart(t *testing.T) {
	image, _ := compile(t, "limit.c", plain)
	for name, c := range map[string]struct {
		files map[string][]byte
		want  build.Outcome
	}{
		"scripts": {map[string][]byte{"./usr/bin/x": []byte("#!/bin/sh\n")}, build.OutcomeNoCode},
		"equal":   {map[string][]byte{"./usr/bin/x": content(t, image)}, build.OutcomeNothing},
		"kernel":  {map[string][]byte{"./boot/vmlinuz-6.1": []byte("MZ")}, build.OutcomeRefused},
	} {
		dir := t.TempDir()
		p := build.Pair{Source: "s", Package: name, BaseVersion: "1.0-1", FixedVersion: "1.0-2"}
		p.BaseFile = makeDeb(t, dir, name, "1.0-1", "amd64", c.files)
		p.FixedFile = makeDeb(t, dir, name, "1.0-2", "amd64", c.files)
		if a := assess(t, p); a.Outcome != c.want {
			t.Errorf("%s: %s, want %s: %+v", name, a.Outcome, c.want, a)
		}
	}
}

func TestAssessTakesBadPackagesForAnOutcome(t *testing.T) {
	p := build.Pair{Package: "x", BaseFile: "/nowhere", FixedFile: "/nowhere"}
	if a := assess(t, p); a.Outcome != build.OutcomeNotFetched {
		t.Errorf("%+v", a)
	}
	bad := filepath.Join(t.TempDir(), "bad.deb")
	if err := os.WriteFile(bad, []byte("!<arch>\nnonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if a := assess(t, build.Pair{Package: "x", BaseFile: bad, FixedFile: bad}); a.Outcome != build.OutcomeFailed || len(a.Reasons) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestSourcesAreAsGoodAsTheirHardestPackage(t *testing.T) {
	a := func(source, pkg string, o build.Outcome, codes ...string) build.Assessment {
		x := build.Assessment{Source: source, Package: pkg, Outcome: o, CVEs: []string{"CVE-2026-1"}, HotpatchSize: 10, UpdateSize: 100}
		for _, c := range codes {
			x.Reasons = append(x.Reasons, patch.Reason{Code: c})
		}
		return x
	}
	p := build.Summarise([]build.Assessment{
		a("mixed", "one", build.OutcomeReview, "layout-unverified"),
		a("quiet", "one", build.OutcomeNothing),
		a("mixed", "two", build.OutcomeRefused, "layout-changed", "layout-unverified"),
		a("good", "one", build.OutcomeReview, "layout-unverified"),
		a("good", "two", build.OutcomeNothing),
		a("good", "data", build.OutcomeNoCode),
		a("scripts", "one", build.OutcomeNoCode),
		a("gone", "one", build.OutcomeNotFetched, "not-fetched"),
		a("gone", "two", build.OutcomeReview, "layout-unverified"),
	})
	if p.Sources != 4 || p.Hotpatchable != 1 || p.NoCode != 2 {
		t.Errorf("%d of %d sources, %d packages without code", p.Hotpatchable, p.Sources, p.NoCode)
	}
	got := map[string]string{}
	for _, u := range p.Updates {
		got[u.Source] = fmt.Sprintf("%s %v %d bytes", u.Outcome, u.Because, u.HotpatchSize)
	}
	want := map[string]string{
		"mixed": "refused [layout-changed] 0 bytes",
		"quiet": "nothing [] 0 bytes",
		"good":  "review [layout-unverified] 20 bytes",
		"gone":  "not-fetched [not-fetched] 0 bytes",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	wantReasons := []build.ReasonCount{
		{Code: "layout-changed", Outcome: build.OutcomeRefused, Sources: 1, Alone: 1},
		{Code: "not-fetched", Outcome: build.OutcomeNotFetched, Sources: 1, Alone: 1},
		{Code: "layout-unverified", Outcome: build.OutcomeReview, Sources: 1, Alone: 1},
	}
	if d := cmp.Diff(wantReasons, p.Reasons); d != "" {
		t.Error(d)
	}
}

// shelf hands out the files of pairs that were given to it, and counts.
type shelf struct {
	files   map[string]string
	fetched atomic.Int32
}

func (s *shelf) fetch(_ context.Context, p build.Pair, version string) (string, func(), error) {
	s.fetched.Add(1)
	path, ok := s.files[p.Package+"="+version]
	if !ok {
		return "", nil, errors.New("sold out")
	}
	return path, nil, nil
}

// put moves the files of a pair onto the shelf.
func (s *shelf) put(p *build.Pair) {
	if s.files == nil {
		s.files = map[string]string{}
	}
	s.files[p.Package+"="+p.BaseVersion], s.files[p.Package+"="+p.FixedVersion] = p.BaseFile, p.FixedFile
	p.BaseFile, p.FixedFile = "", ""
}

func TestFinishedResultsAreNotWorkedOutAgain(t *testing.T) {
	var s shelf
	p := update(t, "limit", "limit")
	s.put(&p)
	gone := build.Pair{Source: "gone", Package: "gone", BaseVersion: "1", FixedVersion: "2"}
	o := build.ParityOptions{Jobs: 2, Fetch: s.fetch, State: filepath.Join(t.TempDir(), "state"), Tool: "one"}
	run := func(wantKept int) []build.Assessment {
		t.Helper()
		kept := -1
		o.Progress = func(p build.ParityProgress) { kept = p.Kept }
		as, err := build.AssessAll(context.Background(), []build.Pair{p, gone}, o)
		if err != nil {
			t.Fatal(err)
		}
		if kept != wantKept {
			t.Errorf("%d results were kept ones, want %d", kept, wantKept)
		}
		if len(as) != 2 || as[0].Package != "limit" || as[1].Outcome != build.OutcomeNotFetched || as[1].Reasons[0].Detail != "sold out" {
			t.Errorf("%+v", as)
		}
		return as
	}
	first := run(0)
	if d := cmp.Diff(first, run(1)); d != "" {
		t.Errorf("a kept result differs:\n%s", d)
	}
	// With digests known from the archive's lists nothing is fetched at all.
	p.BaseDigest, p.FixedDigest = first[0].BaseDigest, first[0].FixedDigest
	s.fetched.Store(0)
	run(1)
	if n := s.fetched.Load(); n != 1 {
		t.Errorf("fetched %d times, want once, for what is gone", n)
	}
	o.Tool = "two"
	run(0)

	files, err := filepath.Glob(filepath.Join(o.State, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v, want a result of each tool", files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte(`{"tool": "two", "assessment": {"outcome": "clean"}}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(0) // what cannot be believed is done again
}

func TestLargePackagesAreLeftOut(t *testing.T) {
	p := update(t, "limit", "limit")
	var s shelf
	for _, known := range []int64{0, 1001} {
		p.FixedSize = known
		q := p
		s.put(&q)
		as, err := build.AssessAll(context.Background(), []build.Pair{q}, build.ParityOptions{Fetch: s.fetch, MaxSize: 1000})
		if err != nil || len(as) != 1 || as[0].Outcome != build.OutcomeNotFetched || !strings.Contains(as[0].Reasons[0].Detail, "more than the limit of 1000") {
			t.Errorf("%+v %v", as, err)
		}
		if n := s.fetched.Swap(0); known > 0 && n > 0 {
			t.Errorf("fetched %d times what was known to be too large", n)
		}
	}
}

func TestInterruptedRunsKeepWhatIsDone(t *testing.T) {
	one, two := update(t, "limit", "limit"), update(t, "string", "string")
	ctx, cancel := context.WithCancel(context.Background())
	o := build.ParityOptions{State: t.TempDir(), Tool: "one", Progress: func(p build.ParityProgress) {
		if p.Ended != nil {
			cancel()
		}
	}}
	as, err := build.AssessAll(ctx, []build.Pair{one, two}, o)
	if !errors.Is(err, context.Canceled) || len(as) != 1 {
		t.Fatalf("%d results, %v", len(as), err)
	}
	kept := 0
	o.Progress = func(p build.ParityProgress) { kept = p.Kept }
	if as, err := build.AssessAll(context.Background(), []build.Pair{one, two}, o); err != nil || len(as) != 2 || kept != 1 {
		t.Errorf("%d results, %d of them kept, %v", len(as), kept, err)
	}
}

func TestDirectoriesArePairedByName(t *testing.T) {
	base, fixed := t.TempDir(), t.TempDir()
	for _, x := range []struct{ dir, name, version, arch string }{
		{base, "aa", "1", "amd64"}, {base, "aa", "2", "amd64"}, {fixed, "aa", "3", "amd64"},
		{base, "same", "1", "amd64"}, {fixed, "same", "1", "amd64"},
		{base, "data", "1", "all"}, {fixed, "data", "2", "all"},
		{fixed, "new", "1", "amd64"},
	} {
		makeDeb(t, x.dir, x.name, x.version, x.arch, nil)
	}
	got, err := build.PairDirectories(base, fixed)
	if err != nil {
		t.Fatal(err)
	}
	want := []build.Pair{{Source: "src-aa", Package: "aa", BaseVersion: "2", FixedVersion: "3",
		BaseFile: filepath.Join(base, "aa_2.deb"), FixedFile: filepath.Join(fixed, "aa_3.deb")}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := build.PairDirectories(t.TempDir(), fixed); err == nil || !strings.Contains(err.Error(), "no .deb") {
		t.Errorf("%v", err)
	}
}

func TestListsAreRead(t *testing.T) {
	text := "# source\tpackage\n\nredis\tredis-tools\t5:7.0.15-1\t5:7.0.15-2\t9558\r\nredis\tredis-tools\t5:7.0.15-1\t5:7.0.15-2\n"
	got, err := build.ReadPairs(strings.NewReader(text))
	want := []build.Pair{{Source: "redis", Package: "redis-tools", BaseVersion: "5:7.0.15-1", FixedVersion: "5:7.0.15-2"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	for text, why := range map[string]string{
		"a b c d":          "line 1: 1 columns",
		"#\naa\t--x\t1\t2": `line 2: "--x" is no package name`,
		"aa\tbb\tx\t2":     "line 1: bad version",
		"aa\tbb\t2\t2":     "line 1: 2 is not newer than 2",
	} {
		if _, err := build.ReadPairs(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
}

func FuzzReadPairs(f *testing.F) {
	f.Add("redis\tredis-tools\t5:7.0.15-1\t5:7.0.15-2\t9558\n# x\n")
	f.Add("aa\t-oDir=/\t1\t2")
	f.Fuzz(func(t *testing.T, text string) {
		pairs, _ := build.ReadPairs(strings.NewReader(text))
		for _, p := range pairs {
			if strings.HasPrefix(p.Package, "-") || strings.ContainsAny(p.Package+p.BaseVersion+p.FixedVersion, " /\t") {
				t.Errorf("%+v", p)
			}
		}
	})
}

// withDebugFiles takes the types of an update out of its packages.
func withDebugFiles(t *testing.T, fixture, dir string) (p build.Pair, served map[string]string) {
	t.Helper()
	p = build.Pair{Source: "src", Package: fixture, BaseVersion: "1.0-1", FixedVersion: "1.0-2"}
	b, f := compile(t, fixture+".c", debugged)
	served = map[string]string{}
	for _, side := range []struct {
		path, version string
		deb           *string
	}{{b, p.BaseVersion, &p.BaseFile}, {f, p.FixedVersion, &p.FixedFile}} {
		bare, debug := splitDebug(t, side.path)
		id, err := image.ReadBuildID(bare)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "usr/lib/debug/.build-id", string(id[:2]), string(id[2:])+".debug")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(debug, file); err != nil {
			t.Fatal(err)
		}
		served["/buildid/"+string(id)+"/debuginfo"] = file
		*side.deb = makeDeb(t, t.TempDir(), fixture, side.version, "amd64", map[string][]byte{"./usr/bin/x": content(t, bare)})
	}
	return p, served
}

func TestTypesAreTakenOutOfDebugPackages(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	p, served := withDebugFiles(t, "debugfiles", dir)
	files := map[string][]byte{}
	for _, path := range served {
		files["."+strings.TrimPrefix(path, dir)] = content(t, path)
	}
	debug := makeDeb(t, dir, "x-dbgsym", "1.0-1", "amd64", files)
	o := build.Options{DebugBase: debug, DebugFixed: debug}
	rep, _, err := build.Build(context.Background(), p.BaseFile, p.FixedFile, o)
	if err != nil || rep.Verdict != patch.Clean {
		t.Fatalf("%+v, error %v", rep, err)
	}
	for _, from := range []*build.TypesSource{rep.Images[0].TypesBase, rep.Images[0].TypesFixed} {
		if from == nil || !strings.HasPrefix(from.File, debug+":/usr/lib/debug/.build-id/") {
			t.Errorf("types came from %+v", from)
		}
	}
	// A package whose supplementary file is elsewhere: what is said of it is the
	// same every time.
	for _, path := range served {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.WriteFile(link, []byte("gone.debug\x00\x01\x02\x03"), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := exec.Command(testkit.Tool(t, "objcopy"), "--add-section", ".gnu_debugaltlink="+link, path).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v\n%s", err, text)
		}
		files["."+strings.TrimPrefix(path, dir)] = content(t, path)
	}
	lacking := makeDeb(t, t.TempDir(), "x-dbgsym", "1.0-1", "amd64", files)
	var reasons [2][]patch.Reason
	for i := range reasons {
		rep, _, err := build.Build(context.Background(), p.BaseFile, p.FixedFile, build.Options{DebugBase: lacking, DebugFixed: lacking})
		if err != nil || rep.Verdict == patch.Clean {
			t.Fatalf("%+v, error %v", rep, err)
		}
		reasons[i] = rep.Reasons
	}
	if d := cmp.Diff(reasons[0], reasons[1]); d != "" || !strings.Contains(reasons[0][0].Detail, lacking+":/usr/lib/debug") {
		t.Errorf("reasons %v\n%s", reasons[0], d)
	}
	bad := filepath.Join(dir, "bad.deb")
	if err := os.WriteFile(bad, content(t, debug)[:300], 0o600); err != nil {
		t.Fatal(err)
	}
	o.DebugFixed = bad
	if _, _, err := build.Build(context.Background(), p.BaseFile, p.FixedFile, o); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("a damaged package: %v", err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestParityTakesTypesFromDebugFiles(t *testing.T) {
	dir := t.TempDir()
	p, served := withDebugFiles(t, "debugfiles", dir)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, ok := served[r.URL.Path]; ok {
			http.ServeFile(w, r, f)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	state := t.TempDir()
	for _, c := range []struct {
		name  string
		o     build.Options
		want  build.Outcome
		typed int
	}{
		{"no debug files", build.Options{DebugDirs: []string{filepath.Join(dir, "absent")}}, build.OutcomeReview, 0},
		{"a directory of them", build.Options{DebugDirs: []string{dir}}, build.OutcomeClean, 1},
		{"a server", build.Options{Debuginfod: build.Debuginfod{URLs: []string{server.URL}, Cache: t.TempDir()}}, build.OutcomeClean, 1},
		{"no debug files again", build.Options{}, build.OutcomeReview, 0},
	} {
		for _, kept := range []int{0, 1} {
			if strings.HasSuffix(c.name, "again") {
				kept = 1
			}
			var last build.ParityProgress
			as, err := build.AssessAll(context.Background(), []build.Pair{p}, build.ParityOptions{
				Build: c.o, State: state, Tool: "one", Progress: func(p build.ParityProgress) { last = p },
			})
			if err != nil || len(as) != 1 || as[0].Outcome != c.want || as[0].Typed != c.typed || last.Kept != kept {
				t.Errorf("%s: %+v, %d kept (want %d), error %v", c.name, as, last.Kept, kept, err)
			}
		}
	}
}

// A package that goes with another one only is as good as that one: not refused
// alone, but as part of its source.
func TestPackagesThatGoTogetherAreHeldBackTogether(t *testing.T) {
	one := func(source, name string, o build.Outcome, with ...string) build.Assessment {
		return build.Assessment{Source: source, Package: name, Outcome: o, GoesWith: with, HotpatchSize: 10}
	}
	p := build.Summarise([]build.Assessment{
		one("a", "a-libs", build.OutcomePartial), one("a", "a", build.OutcomeReview, "a-libs 2"), one("a", "a-more", build.OutcomeClean, "a 2"),
		one("b", "b-libs", build.OutcomePartial), one("b", "b", build.OutcomeReview),
		one("c", "c-libs", build.OutcomeReview), one("c", "c", build.OutcomeReview, "c-libs 2", "elsewhere 2"),
	})
	var got []string
	for _, u := range p.Updates {
		got = append(got, fmt.Sprint(u.Source, " ", u.Outcome, " ", u.Because, " ", u.HotpatchSize))
	}
	if d := cmp.Diff([]string{"a refused [held-back] 0", "b partial [] 20", "c review [] 20"}, got); d != "" {
		t.Error(d)
	}
	if p.Hotpatchable != 1 || p.Outcomes[build.OutcomePartial] != 1 {
		t.Errorf("%+v", p)
	}
}

func TestAssessOfAPackageThatIsPatchedInPart(t *testing.T) {
	b, f := compile(t, "function.c", debugged)
	lb, lf := compile(t, "layout.c", debugged)
	dir := t.TempDir()
	p := build.Pair{Source: "src-two", Package: "two", BaseVersion: "1.0-1", FixedVersion: "1.0-2"}
	p.BaseFile = makeDeb(t, dir, "two", p.BaseVersion, "amd64", map[string][]byte{"./usr/bin/a": content(t, b), "./usr/bin/b": content(t, lb)})
	p.FixedFile = makeDeb(t, dir, "two", p.FixedVersion, "amd64", map[string][]byte{"./usr/bin/a": content(t, f), "./usr/bin/b": content(t, lf)}, "Depends: libtwo (= 1.0-2)\n")
	a := assess(t, p)
	if a.Outcome != build.OutcomePartial || a.Images != 2 || a.HotpatchSize == 0 || len(a.GoesWith) != 1 || a.GoesWith[0] != "libtwo 1.0-2" {
		t.Errorf("%+v", a)
	}
}
