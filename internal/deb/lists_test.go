package deb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/deb"
)

const packages = `Package: haproxy
Version: 2.6.12-1+deb12u4
Architecture: amd64
Description: a proxy
 Package: not a field
Size: 2000
SHA256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA

Package: redis-tools
Source: redis (5:7.0.15-1)
Version: 5:7.0.15-1+b1
Architecture: amd64


Package: Not_A_Name
Version: 1
Architecture: amd64

Package: no-version
Version: of course
Architecture: amd64

Package: redis-doc
Source: redis
Version: 5:7.0.15-2
Architecture: all`

func parsePackages(t *testing.T, text string) []deb.Listed {
	t.Helper()
	var out []deb.Listed
	if err := deb.ParsePackages(strings.NewReader(text), func(l deb.Listed) error { out = append(out, l); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPackageListsAreRead(t *testing.T) {
	want := []deb.Listed{
		{Package: "haproxy", Source: "haproxy", Version: "2.6.12-1+deb12u4", Arch: "amd64", Size: 2000, SHA256: strings.Repeat("a", 64)},
		{Package: "redis-tools", Source: "redis", Version: "5:7.0.15-1+b1", Arch: "amd64"},
		{Package: "redis-doc", Source: "redis", Version: "5:7.0.15-2", Arch: "all"},
	}
	if d := cmp.Diff(want, parsePackages(t, packages)); d != "" {
		t.Error(d)
	}
}

func TestPackageListErrorsNameThePackage(t *testing.T) {
	err := deb.ParsePackages(strings.NewReader("Package: aa\nSize: many\n"), func(deb.Listed) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `package "aa": bad size "many"`) {
		t.Errorf("%v", err)
	}
}

const dpkgStatus = `Package: haproxy
Status: install ok installed
Architecture: amd64
Version: 2.6.12-1+deb12u3

Package: held
Status: hold ok installed
Architecture: amd64
Version: 1

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install ok half-installed
Architecture: amd64
Version: 1
`

func TestOnlyInstalledPackagesAreInstalled(t *testing.T) {
	root := t.TempDir()
	write(t, root, "var/lib/dpkg/status", dpkgStatus)
	got, err := deb.Dpkg{Root: root}.Installed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range got {
		names = append(names, l.Package+"="+l.Version)
	}
	if d := cmp.Diff([]string{"haproxy=2.6.12-1+deb12u3", "held=1"}, names); d != "" {
		t.Error(d)
	}
}

func TestPendingIsWhatIsNewer(t *testing.T) {
	l := func(name, version string) deb.Listed {
		return deb.Listed{Package: name, Source: "src-" + name, Version: version, Arch: "amd64"}
	}
	all := l("docs", "2")
	all.Arch = "all"
	base := []deb.Listed{l("b", "1.0-1"), l("a", "1.0-1"), l("a", "1.0-2"), l("same", "3"), l("ahead", "9"), l("docs", "1")}
	fixed := []deb.Listed{l("b", "1.0-10"), l("b", "1.0-9"), l("a", "1.0-3"), l("same", "3"), l("ahead", "8"), l("new", "1"), all}
	want := []deb.Update{
		{Source: "src-a", Package: "a", Base: l("a", "1.0-2"), Fixed: l("a", "1.0-3")},
		{Source: "src-b", Package: "b", Base: l("b", "1.0-1"), Fixed: l("b", "1.0-10")},
	}
	if d := cmp.Diff(want, deb.Pending(base, fixed, "amd64")); d != "" {
		t.Error(d)
	}
}

// fakeLists is an apt with a plain and a packed list.
func fakeLists(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "x_Packages", packages)
	write(t, dir, "y_Packages.lz4", "packed")
	write(t, dir, "y", strings.ReplaceAll(packages, "+deb12u4", "+deb12u5"))
	fakeApt(t, fmt.Sprintf(`
case "$*" in
*indextargets*) printf '%%s\n' '%[1]s/x_Packages|bookworm|oldstable|main' '%[1]s/y_Packages.lz4|bookworm-security|oldstable-security|main' '%[1]s/gone_Packages|gone|gone|main' nonsense;;
*) exit 1;;
esac`, dir))
	bin, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	write(t, bin, "apt-helper", fmt.Sprintf("#!/bin/sh\nfor f; do :; done\n[ \"$f\" = %[1]s/y_Packages.lz4 ] && cat %[1]s/y\n", dir))
	if err := os.Chmod(filepath.Join(bin, "apt-helper"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestSuitesAreFoundByEitherName(t *testing.T) {
	fakeLists(t)
	ctx := context.Background()
	for suite, want := range map[string]string{
		"bookworm": "2.6.12-1+deb12u4", "oldstable": "2.6.12-1+deb12u4",
		"bookworm-security": "2.6.12-1+deb12u5", "oldstable-security": "2.6.12-1+deb12u5",
	} {
		ls, err := deb.Apt{}.Suite(ctx, suite, "amd64")
		if err != nil || len(ls) != 3 || ls[0].Version != want {
			t.Errorf("%s: %v %v, want %s first of 3", suite, ls, err, want)
		}
	}
	if ls, err := (deb.Apt{}).Security(ctx, "amd64"); err != nil || len(ls) != 3 || ls[0].Version != "2.6.12-1+deb12u5" {
		t.Errorf("security: %v %v", ls, err)
	}
	if _, err := (deb.Apt{}).Suite(ctx, "sid", "amd64"); !errors.Is(err, deb.ErrNoSuite) {
		t.Errorf("sid: %v, want ErrNoSuite", err)
	}
	if _, err := (deb.Apt{}).Suite(ctx, "gone", "amd64"); !errors.Is(err, deb.ErrNotListed) {
		t.Errorf("a list that was never fetched: %v, want ErrNotListed", err)
	}
}

// installedRoot is a host with haproxy: one program, one text.
func installedRoot(t *testing.T) deb.Dpkg {
	t.Helper()
	root := t.TempDir()
	write(t, root, "var/lib/dpkg/status", dpkgStatus)
	write(t, root, "usr/sbin/haproxy", "\x7fELF program")
	write(t, root, "usr/share/x", "text")
	write(t, root, "var/lib/dpkg/info/haproxy.md5sums",
		"37d53b6e4ba0b5d2f4d9d2e2ffd87d6b  usr/share/doc/gone\n"+
			"1cb251ec0d568de6a929b520c4aed8d1  usr/share/x\n"+
			"9b29911353b7269a2e2548797c2d659f  usr/sbin/haproxy\n")
	return deb.Dpkg{Root: root}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestInstalledPackagesArePackedAgain(t *testing.T) {
	d := installedRoot(t)
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := d.Repack("haproxy", "2.6.12-1+deb12u3", "amd64", path); err != nil {
		t.Fatal(err)
	}
	p, err := deb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "haproxy" || p.Version != "2.6.12-1+deb12u3" || p.Arch != "amd64" || p.Source != "haproxy" {
		t.Errorf("%+v", p)
	}
	var got []string
	if err := p.Walk(nil, func(f deb.File) error { got = append(got, f.Name+" "+string(f.Data)); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/usr/sbin/haproxy \x7fELF program"}, got); d != "" {
		t.Error(d)
	}
}

func TestModifiedFilesAreNotTakenForThePackages(t *testing.T) {
	d := installedRoot(t)
	write(t, d.Root, "usr/sbin/haproxy", "\x7fELF something else")
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := d.Repack("haproxy", "2.6.12-1+deb12u3", "amd64", path); !errors.Is(err, deb.ErrModified) {
		t.Errorf("%v, want ErrModified", err)
	}
	if err := d.Repack("haproxy", "2.6.12-1+deb12u2", "amd64", path); err == nil {
		t.Error("a version was packed that is not installed")
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add(packages)
	f.Add(dpkgStatus)
	f.Add("Package: aa\nVersion: 1\nSource: (\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = deb.ParsePackages(strings.NewReader(text), func(l deb.Listed) error {
			if !deb.IsPackageName(l.Package) || !deb.IsPackageName(l.Source) {
				t.Errorf("bad names: %+v", l)
			}
			if _, err := deb.Compare(l.Version, l.Version); err != nil {
				t.Error(err)
			}
			return nil
		})
	})
}

func FuzzMD5Sums(f *testing.F) {
	f.Add("37d53b6e4ba0b5d2f4d9d2e2ffd87d6b  usr/share/doc/gone\n")
	f.Add("37d53b6e4ba0b5d2f4d9d2e2ffd87d6b  ../etc/passwd\n")
	f.Fuzz(func(t *testing.T, text string) {
		names, _ := deb.MD5Names(strings.NewReader(text))
		for _, n := range names {
			if !filepath.IsAbs(n) || strings.Contains(n+"/", "/../") {
				t.Errorf("unsafe name %q", n)
			}
		}
	})
}
