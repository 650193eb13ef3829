package deb_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/deb"
)

const status = `Package: nginx
Status: install ok installed
Installed-Size: 1335
Architecture: amd64
Version: 1.22.1-9+deb12u9

Package: redis-server
Status: hold ok half-configured
Architecture: amd64
Source: redis (5:7.0.15-1)
Version: 5:7.0.15-1+b1
Description: x
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: killed
Status: install reinstreq half-installed
Architecture: amd64
`

func TestStatusKnowsWhatIsNotWhole(t *testing.T) {
	got, err := deb.ParseStatus(strings.NewReader(status))
	if err != nil {
		t.Fatal(err)
	}
	want := []deb.Installed{
		{Package: "killed", Arch: "amd64", State: "half-installed", Broken: true},
		{Package: "nginx", Arch: "amd64", Version: "1.22.1-9+deb12u9", Source: "nginx", SourceVersion: "1.22.1-9+deb12u9", State: "installed", Size: 1335 << 10},
		{Package: "redis-server", Arch: "amd64", Version: "5:7.0.15-1+b1", Source: "redis", SourceVersion: "5:7.0.15-1", State: "half-configured", Held: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for _, bad := range []string{
		"Package: a b\nStatus: install ok installed\n",
		"Package: nginx\nStatus: installed\nVersion: 1\n",
		"Package: nginx\nStatus: install ok installed\nVersion: one\n",
		"Package: nginx\nStatus: install ok installed\nVersion: 1\nInstalled-Size: -3\n",
		"Package: nginx\nStatus: install ok installed\nVersion: 1\nSource: ../x\n",
	} {
		if got, err := deb.ParseStatus(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

const simulation = `NOTE: This is only a simulation!
Inst libssl-dev [3.0.19-1~deb12u2] (3.0.22-1~deb12u2 Debian-Security:12/oldstable-security [amd64]) []
Inst libssl3:i386 [3.0.19-1] (3.0.22-1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [i386])
Inst fresh (1 Debian:12/x [all])
Remv old [2.0]
Purg older [3.0]
Conf libssl-dev (3.0.22-1~deb12u2 Debian-Security:12/oldstable-security [amd64])
Inst
`

func TestSimulationIsRead(t *testing.T) {
	want := []deb.Change{
		{Package: "libssl-dev", Arch: "amd64", From: "3.0.19-1~deb12u2", To: "3.0.22-1~deb12u2"},
		{Package: "libssl3", Arch: "i386", From: "3.0.19-1", To: "3.0.22-1"},
		{Package: "fresh", Arch: "all", To: "1"},
		{Package: "old", From: "2.0"},
		{Package: "older", From: "3.0"},
	}
	if got := deb.ParseSimulation(simulation); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

const policies = `nginx:
  Installed: 1.22.1-9+deb12u9
  Candidate: 1.22.1-9+deb12u10
  Version table:
     1.22.1-9+deb12u10 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 1.22.1-9+deb12u9 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: (none)
  Candidate: (none)
  Version table:
N: a note
`

const sources = `Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin deb.debian.org
 -10 copy:/srv stable/main amd64 Packages
     release o=Own,a=stable,n=stable,l=Own,c=main,b=amd64
Pinned packages:
     nginx -> 1
`

func TestPoliciesAndOriginsAreRead(t *testing.T) {
	want := "nginx 1.22.1-9+deb12u9 1.22.1-9+deb12u10 " +
		"[1.22.1-9+deb12u10 [http://deb.debian.org/debian-security bookworm-security/main amd64 Packages] " +
		"1.22.1-9+deb12u9 [http://deb.debian.org/debian bookworm/main amd64 Packages]]\nlibc6:i386   []\n"
	if got := deb.PolicyText(policies); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	got := deb.ParseOrigins(sources)
	o := got["http://deb.debian.org/debian-security bookworm-security/main amd64 Packages"]
	if o != (deb.Origin{Origin: "Debian", Label: "Debian-Security", Suite: "oldstable-security", Codename: "bookworm-security", Component: "main", Version: "12", Site: "deb.debian.org"}) || !o.Security() {
		t.Errorf("%+v", o)
	}
	if own := got["copy:/srv stable/main amd64 Packages"]; own.Origin != "Own" || own.Security() {
		t.Errorf("%+v", own)
	}
}

func TestSecuritySuitesAreKnownByWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		o    deb.Origin
		want bool
	}{
		{deb.Origin{Label: "Debian-Security", Suite: "stable-security", Codename: "trixie-security"}, true},
		{deb.Origin{Origin: "Ubuntu", Label: "Ubuntu", Suite: "noble-security"}, true},
		{deb.Origin{Origin: "Debian", Label: "Debian", Suite: "stable-updates", Codename: "trixie-updates"}, false},
		{deb.Origin{Origin: "Debian Backports", Suite: "stable-backports"}, false},
		{deb.Origin{}, false},
	} {
		if got := c.o.Security(); got != c.want {
			t.Errorf("%+v: %v", c.o, got)
		}
	}
}

func TestExcludePatternsMatchAsDpkgDoes(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"/usr/share/doc/*", "/usr/share/doc/a/b/c", true},
		{"/usr/share/doc/*/copyright", "/usr/share/doc/a/copyright", true},
		{"/usr/share/doc/*/copyright", "/usr/share/doc/a/copyrights", false},
		{"/usr/share/man/??/*", "/usr/share/man/de/x", true},
		{"/usr/share/man/??/*", "/usr/share/man/man1/x", false},
		{"*", "", true},
		{"", "x", false},
		{"*a*a*a*a*a*b", strings.Repeat("a", 200), false},
	} {
		if got := deb.Matches(c.pattern, c.name); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.name, got)
		}
	}
}

func TestNewerKernelIsNoticed(t *testing.T) {
	image := func(name, version string) deb.Installed {
		return deb.Installed{Package: "linux-image-" + name, Version: version, State: "installed"}
	}
	both := []deb.Installed{image("6.1.0-37-amd64", "6.1.140-1"), image("6.1.0-38-amd64", "6.1.147-1"), image("amd64", "6.1.147-1"), image("6.1.0-38-amd64-dbg", "6.1.999-1")}
	const uname = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)"
	for _, c := range []struct {
		name, release, uname string
		have                 []deb.Installed
		want                 deb.Kernel
	}{
		{"another release", "6.1.0-37-amd64", uname, both, deb.Kernel{Release: "6.1.0-37-amd64", Version: "6.1.140-1", Newest: "6.1.0-38-amd64", Next: "6.1.147-1", Old: true}},
		{"the newest runs", "6.1.0-38-amd64", "Debian 6.1.147-1 (x)", both, deb.Kernel{Release: "6.1.0-38-amd64", Version: "6.1.147-1", Newest: "6.1.0-38-amd64", Next: "6.1.147-1"}},
		{"same release, newer build", "6.1.0-37-amd64", uname, []deb.Installed{image("6.1.0-37-amd64", "6.1.140-2")},
			deb.Kernel{Release: "6.1.0-37-amd64", Version: "6.1.140-1", Newest: "6.1.0-37-amd64", Next: "6.1.140-2", Old: true}},
		{"a kernel from elsewhere", "6.18.1-cloud", uname, both, deb.Kernel{Release: "6.18.1-cloud"}},
		{"a container", "6.1.0-37-amd64", uname, nil, deb.Kernel{Release: "6.1.0-37-amd64"}},
	} {
		if got := deb.JudgeKernel(c.release, c.uname, c.have); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestDiversionsAreFollowed(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "app", version: "1", files: map[string]string{"/usr/bin/tool": "packaged"}})
	d.write("usr/bin/tool.distrib", "packaged")
	d.write("usr/bin/tool", "somebody else's")
	d.write("var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.distrib\n:\n")
	c, err := d.Dpkg().Verify("app", "all")
	if err != nil || !c.OK() || c.Files != 1 {
		t.Errorf("%+v %v", c, err)
	}
	o, err := d.Dpkg().Owners()
	if err != nil {
		t.Fatal(err)
	}
	if i, ok := o.Of("/bin/tool.distrib"); !ok || i.Package != "app" {
		t.Errorf("%+v %v", i, ok)
	}
	if _, ok := o.Of("/usr/bin/tool"); ok {
		t.Error("a diverted name still belongs to the package")
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(status)
	f.Add("Package: x1\nStatus: a b c\nVersion: 1:\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := deb.ParseStatus(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, i := range all {
			if !deb.IsPackageName(i.Package) || i.State == "not-installed" || i.Size < 0 {
				t.Errorf("%+v", i)
			}
		}
	})
}

func FuzzApt(f *testing.F) {
	f.Add(simulation)
	f.Add(policies)
	f.Add(sources)
	f.Add("Package: x1\nVersion: 1\nSHA256: zz\nSize: 99999999999999999999\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range deb.ParseSimulation(text) {
			if !deb.IsPackageName(c.Package) && len(c.Package) > 1 && len(c.Package) < 128 {
				t.Errorf("%+v", c)
			}
		}
		_ = deb.PolicyText(text)
		_ = deb.ParseOrigins(text)
		_ = deb.ParseRecords(text)
	})
}

func FuzzDpkgFiles(f *testing.F) {
	f.Add("/a\n/b\n:\n", "path-exclude=/usr/share/doc/*", "/usr/share/doc/x")
	f.Add("a\n", "*?*", "x")
	f.Fuzz(func(t *testing.T, text, rules, name string) {
		m, err := deb.ParseDiversions(text)
		if err == nil {
			for from, to := range m {
				if !strings.HasPrefix(from, "/") || !strings.HasPrefix(to, "/") {
					t.Errorf("%q to %q", from, to)
				}
			}
		}
		deb.Excluded(rules, name)
		for _, n := range deb.ParseList(text) {
			if !strings.HasPrefix(n, "/") {
				t.Errorf("%q", n)
			}
		}
	})
}

func FuzzJob(f *testing.F) {
	f.Add(`{"started":"2026-01-01T00:00:00Z","chosen":[{"package":"nginx","version":"1"}],"changes":[],"files":["/a/b.deb"],"auto":["nginx:amd64"]}`)
	f.Add(`{"files":["../x"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		j, err := deb.ParseJob([]byte(text))
		if err != nil {
			return
		}
		for _, name := range j.Files {
			if !strings.HasPrefix(name, "/") || strings.Contains(name, "/../") {
				t.Errorf("file %q", name)
			}
		}
		b, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := deb.ParseJob(b); err != nil || fmt.Sprint(again) != fmt.Sprint(j) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzAction(f *testing.F) {
	f.Add("nginx\tpostinst\tsystemctl\trestart\tnginx")
	f.Add("\t\t")
	f.Fuzz(func(t *testing.T, line string) {
		if a, ok := deb.ParseAction(line); ok && a.Tool == "" {
			t.Errorf("%+v", a)
		}
	})
}
