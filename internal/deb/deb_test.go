package deb_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hotpatch/internal/deb"
	"hotpatch/internal/testkit"
)

func open(t *testing.T, path string) *deb.Package {
	t.Helper()
	p, err := deb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenReadsEveryCompression(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 500)
	for _, suffix := range []string{"", ".gz", ".xz", ".zst"} {
		t.Run("tar"+suffix, func(t *testing.T) {
			path := makeDeb(t, suffix, redisControl,
				dir("./"), dir("./usr/"), dir("./usr/bin/"),
				entry{name: "./usr/bin/redis-cli", data: "\x7fELF" + big, mode: 0o755},
				file("./usr/share/empty", ""), symlink("./usr/bin/redis-server", "redis-cli"))
			p := open(t, path)
			want := &deb.Package{
				Path: path, Name: "redis-tools", Source: "redis", Version: "5:7.0.15-1~deb12u7", Arch: "amd64",
				Depends: "adduser, libc6 (>= 2.34), libssl3 (>= 3.0.0)", SourceVersion: "5:7.0.15-1~deb12u7",
			}
			if d := cmp.Diff(want, p, cmpopts.IgnoreUnexported(deb.Package{})); d != "" {
				t.Error(d)
			}
			var got []deb.File
			if err := p.Walk(nil, func(f deb.File) error { got = append(got, f); return nil }); err != nil {
				t.Fatal(err)
			}
			files := []deb.File{
				{Name: "/usr/bin/redis-cli", Mode: 0o755, Data: []byte("\x7fELF" + big)},
				{Name: "/usr/share/empty", Mode: 0o644},
			}
			if d := cmp.Diff(files, got, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWalkShowsTheHeadAndReadsOnlyWhatIsWanted(t *testing.T) {
	p := open(t, makeDeb(t, ".gz", redisControl, file("./a", "\x7fELF and more"), file("./b", "#!/bin/sh"), file("./c", strings.Repeat("x", 200))))
	heads := map[string]string{}
	var names []string
	err := p.Walk(func(name string, head []byte) bool {
		heads[name] = string(head)
		return bytes.HasPrefix(head, []byte("\x7fELF"))
	}, func(f deb.File) error { names = append(names, f.Name+"="+string(f.Data)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"/a": "\x7fELF and more", "/b": "#!/bin/sh", "/c": strings.Repeat("x", 64)}, heads); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"/a=\x7fELF and more"}, names); d != "" {
		t.Error(d)
	}
}

func TestWalkStopsWhenAsked(t *testing.T) {
	p := open(t, makeDeb(t, ".gz", redisControl, file("./a", "1"), file("./b", "2")))
	n := 0
	if err := p.Walk(nil, func(deb.File) error { n++; return deb.ErrStop }); err != nil || n != 1 {
		t.Errorf("visited %d files, error %v; want 1 and none", n, err)
	}
	boom := errors.New("boom")
	if err := p.Walk(nil, func(deb.File) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("error %v, want the function's own", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	control := func(c string) []byte { return debBytes(t, ".gz", c) }
	good := debBytes(t, ".xz", redisControl, file("./a", "1"))
	tarOf := func(es ...entry) []byte { return makeTar(t, es...) }
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"empty":               {nil, "not an ar archive"},
		"not ar":              {[]byte("\x7fELF, not a package at all"), "not an ar archive"},
		"no members":          {makeAr(), "first member is not debian-binary"},
		"other first":         {makeAr(arMember{"control.tar", nil}), "first member is not debian-binary"},
		"format 3":            {makeAr(arMember{"debian-binary", []byte("3.0\n")}), "format version is not 2"},
		"no control":          {makeAr(arMember{"debian-binary", []byte("2.0\n")}), "no member control.tar"},
		"data first":          {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"data.tar", nil}), "member data.tar at offset 132"},
		"no data":             {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar", nil}), "no member data.tar"},
		"cut in a header":     {good[:100], "member header at offset 72"},
		"cut in a member":     {good[:len(good)-40], "behind the end of the file"},
		"lzma":                {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar.lzma", nil}, arMember{"data.tar", nil}), `unknown compression ".lzma"`},
		"bad gzip":            {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar.gz", []byte("no")}, arMember{"data.tar", nil}), "member control.tar.gz at offset 132"},
		"no control file":     {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar", tarOf(file("./md5sums", ""))}, arMember{"data.tar", nil}), "no control file"},
		"climbing name":       {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar", tarOf(file("../control", "x"))}, arMember{"data.tar", nil}), "leads out of the package"},
		"huge control":        {control(redisControl + " " + strings.Repeat("x", 2<<20)), "too large"},
		"no package":          {control("Version: 1\nArchitecture: all\n"), "bad package name"},
		"option as a name":    {control("Package: -oDir=/\nVersion: 1\nArchitecture: all\n"), "bad package name"},
		"bad version":         {control("Package: aa\nVersion: x\nArchitecture: all\n"), "bad version"},
		"no architecture":     {control("Package: aa\nVersion: 1\n"), "no field Architecture"},
		"bad source version":  {control("Package: aa\nVersion: 1\nArchitecture: all\nSource: bb (..)\n"), "source: bad version"},
		"field twice":         {control("Package: aa\nPackage: bb\n"), "line 2: field package appears twice"},
		"continues nothing":   {control(" x\n"), "line 1: continues no field"},
		"not a field":         {control("Package: aa\nhello\n"), "line 2: not a field"},
		"bad size of member":  {[]byte("!<arch>\ndebian-binary   0           0     0     100644  -4        `\n"), "member header at offset 8"},
		"bad mark of member":  {[]byte("!<arch>\ndebian-binary   0           0     0     100644  4         xx2.0\n"), "bad end mark"},
		"nameless member":     {[]byte("!<arch>\n                0           0     0     100644  4         `\n2.0\n"), "no name"},
		"too many members":    {makeAr(slices.Repeat([]arMember{{"debian-binary", []byte("2.0\n")}}, 100)...), "more than 64 members"},
		"unexpected member":   {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"evil", nil}), "member evil at offset 132: not expected"},
		"truncated xz inside": {makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar.xz", pack(t, ".xz", tarOf(file("./control", redisControl)))[:60]}, arMember{"data.tar", nil}), "member control.tar.xz"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.deb")
			if err := os.WriteFile(path, tc.data, 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := deb.Open(path)
			if err == nil {
				t.Fatalf("opened as %s %s", p.Name, p.Version)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want the path and %q", err, tc.want)
			}
		})
	}
}

func TestMembersWithUnderscoreAreLeftAlone(t *testing.T) {
	data := makeAr(
		arMember{"debian-binary/", []byte("2.0\n")}, // GNU ar ends names with a slash
		arMember{"_signature", []byte("odd")},
		arMember{"control.tar", makeTar(t, file("control", redisControl))},
		arMember{"data.tar", makeTar(t)},
		arMember{"anything", nil}, // behind data.tar
	)
	if _, err := deb.Read(bytes.NewReader(data), int64(len(data))); err != nil {
		t.Error(err)
	}
}

func TestDictionaryBombIsRefused(t *testing.T) {
	x := pack(t, ".xz", makeTar(t, file("./control", redisControl)))
	// The block header follows the 12 bytes of the stream header: its size in
	// words less one, flags, the filter LZMA2 (0x21) with one byte of
	// properties, which is the dictionary's size (0x28: 4 GiB), and a CRC.
	head := x[12 : 12+4*(int(x[12])+1)]
	i := bytes.Index(head, []byte{0x21, 0x01})
	if i < 0 {
		t.Fatal("no LZMA2 filter in the header")
	}
	head[i+2] = 0x28
	binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
	data := makeAr(arMember{"debian-binary", []byte("2.0\n")}, arMember{"control.tar.xz", x}, arMember{"data.tar", nil})

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := deb.Read(bytes.NewReader(data), int64(len(data)))
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("error %v, want one about the dictionary", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB were allocated for it", n>>20)
	}
}

func TestExtractWritesFilesDirectoriesAndLinks(t *testing.T) {
	p := open(t, makeDeb(t, ".gz", redisControl,
		dir("./"), entry{name: "./usr/ro/", kind: tar.TypeDir, mode: 0o555},
		entry{name: "./usr/ro/prog", data: "hello", mode: 0o4755},
		hardlink("./usr/ro/same", "./usr/ro/prog"),
		symlink("./usr/alias", "ro/prog"), symlink("./etc/abs", "/etc/passwd"),
		entry{name: "./dev/null", kind: tar.TypeChar, mode: 0o666}))
	root := filepath.Join(t.TempDir(), "new", "root")
	for range 2 { // a second time over the first
		if err := p.Extract(root); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"usr/ro/prog", "usr/ro/same", "usr/alias"} {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	st, err := os.Stat(filepath.Join(root, "usr/ro/prog"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o755 {
		t.Errorf("mode %v, want -rwxr-xr-x without set-id", st.Mode())
	}
	if to, err := os.Readlink(filepath.Join(root, "etc/abs")); err != nil || to != "/etc/passwd" {
		t.Errorf("link to %q, %v", to, err)
	}
	if _, err := os.Lstat(filepath.Join(root, "dev/null")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device was made: %v", err)
	}
}

func TestExtractNeverWritesOutside(t *testing.T) {
	for name, entries := range map[string][]entry{
		"climbing name":          {file("./../evil", "x")},
		"climbing in the middle": {file("./a/../../evil", "x")},
		"through a symlink":      {symlink("./out", ".."), file("./out/evil", "x")},
		"through an absolute one": {symlink("./out", "/"), dir("./out/tmp/"),
			file("./out/tmp/evil", "x")},
		"hard link out":           {hardlink("./evil", "../secret")},
		"hard link through":       {symlink("./out", ".."), hardlink("./evil", "out/secret")},
		"over a symlink's target": {symlink("./x", "../secret"), file("./x/evil", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, makeDeb(t, "", redisControl, entries...))
			outer := t.TempDir()
			if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := p.Extract(filepath.Join(outer, "root")); err == nil {
				t.Error("extracted without an error")
			}
			left, err := os.ReadDir(outer)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range left {
				if e.Name() != "root" && e.Name() != "secret" {
					t.Errorf("%s was written outside", e.Name())
				}
			}
		})
	}
}

func TestFileReplacesALinkAndIsNotWrittenThroughIt(t *testing.T) {
	p := open(t, makeDeb(t, "", redisControl, symlink("./x", "y"), file("./y", "old"), file("./x", "new")))
	root := t.TempDir()
	if err := p.Extract(root); err != nil {
		t.Fatal(err)
	}
	x, _ := os.ReadFile(filepath.Join(root, "x"))
	y, _ := os.ReadFile(filepath.Join(root, "y"))
	if string(x) != "new" || string(y) != "old" {
		t.Errorf("x %q, y %q; want new and old", x, y)
	}
}

func TestNamesAreCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"./usr/bin/x": "/usr/bin/x", "usr//bin/./x": "/usr/bin/x", "/abs": "/abs", "./": "/", "": "/",
		"..x/y..": "/..x/y..",
	} {
		if got, err := deb.CleanName(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"..", "../x", "a/..", "a/../b", "a\x00b", strings.Repeat("a/", 3000)} {
		if got, err := deb.CleanName(in); err == nil {
			t.Errorf("%.20q became %.20q", in, got)
		}
	}
}

// TestAgreesWithDpkgDeb has dpkg-deb build a package and both read it.
func TestAgreesWithDpkgDeb(t *testing.T) {
	testkit.Tools(t, "dpkg-deb")
	tree := t.TempDir()
	control := "Package: pair\nSource: pairs (1:2-3)\nVersion: 1:2-3+b1\nArchitecture: amd64\nMaintainer: a <a@example.org>\nDepends: libc6 (>= 2)\nDescription: x\n"
	for name, data := range map[string]string{"DEBIAN/control": control, "usr/bin/pair": strings.Repeat("pair", 9999), "etc/pair.conf": "a=b\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, z := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(z, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pair.deb")
			if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Z"+z, "-b", tree, path).CombinedOutput(); err != nil {
				t.Fatalf("dpkg-deb: %v: %s", err, out)
			}
			p := open(t, path)
			out, err := exec.Command("dpkg-deb", "-W", "--showformat=${Package} ${source:Package} ${Version} ${source:Version} ${Architecture} ${Depends}", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join([]string{p.Name, p.Source, p.Version, p.SourceVersion, p.Arch, p.Depends}, " "); got != string(out) {
				t.Errorf("read %q, dpkg-deb %q", got, out)
			}
			ours, theirs := t.TempDir(), t.TempDir()
			if err := p.Extract(ours); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("dpkg-deb", "-x", path, theirs).CombinedOutput(); err != nil {
				t.Fatalf("dpkg-deb: %v: %s", err, out)
			}
			if d := cmp.Diff(tree2map(t, theirs), tree2map(t, ours)); d != "" {
				t.Error(d)
			}
		})
	}
}

func tree2map(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzRead(f *testing.F) {
	for _, suffix := range []string{"", ".gz", ".xz", ".zst"} {
		f.Add(debBytes(f, suffix, redisControl, file("./a", "1")))
	}
	f.Add(makeAr())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := deb.Read(bytes.NewReader(data), int64(len(data)))
		if err == nil && (p.Name == "" || p.Version == "" || p.Source == "") {
			t.Errorf("accepted without an identity: %+v", p)
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && err.Error() == "EOF" {
			t.Error("a bare EOF says nothing")
		}
	})
}

func FuzzControl(f *testing.F) {
	f.Add([]byte(redisControl))
	f.Add([]byte("Package: a\nSource: b (1)\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := deb.ParseControl(data)
		if err != nil {
			return
		}
		if _, err := deb.Compare(p.Version, p.SourceVersion); err != nil {
			t.Errorf("accepted a version that cannot be compared: %v", err)
		}
	})
}
