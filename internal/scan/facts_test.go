package scan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/proc"
	"hotpatch/internal/scan"
)

type catalogProcess = catalog.Process

var update = flag.Bool("update", false, "write golden files anew")

// sample has one process of every kind.
func sample() *scan.Snapshot {
	const a, b = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	id := strings.Repeat("ab", 32)
	nginx := scan.Loaded{Path: "/usr/sbin/nginx", BuildID: a, Package: "nginx", Version: "1.22.1-9", Disk: "1.22.1-9+deb12u10", Next: b, Deleted: true}
	return &scan.Snapshot{
		Format: scan.Format, Host: "web1", Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Booted: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Facts: catalog.Facts{Arch: "amd64", Kernel: "6.1.0-37-amd64", Channel: "bookworm",
			Packages: catalog.Probe{Found: []string{"redis is half-installed"}, Remedy: "dpkg --configure -a"}},
		Roots: []scan.Root{{Kind: "host", Debian: true}, {Name: "0123456789ab", Kind: "container", Unknown: "no dpkg"}},
		Packages: []scan.Package{{Name: "nginx", Arch: "amd64", Version: "1.22.1-9+deb12u10", Source: "nginx", SourceVersion: "1.22.1-9+deb12u10",
			State: "installed", Images: []scan.Image{{Path: "/usr/sbin/nginx", BuildID: b}}}},
		Processes: []scan.Process{
			{PID: 1, Started: 1, Comm: "systemd", Exe: "/usr/lib/systemd/systemd", Unit: "init.scope",
				Images: []scan.Loaded{{Path: "/usr/lib/systemd/systemd", BuildID: a, Package: "systemd", Disk: "252-2", Deleted: true}}},
			{PID: 7, Started: 7, Comm: "dbus-daemon", Exe: "/usr/bin/dbus-daemon", Unit: "dbus.service",
				Images: []scan.Loaded{{Path: "/usr/bin/dbus-daemon", BuildID: a, Package: "dbus", Version: "1", Disk: "2", Next: b, Deleted: true}}},
			{PID: 10, Started: 10, Comm: "nginx", Exe: "/usr/sbin/nginx", Unit: "nginx.service", Images: []scan.Loaded{nginx}, Access: &scan.Access{UID: 33, Seccomp: 2}},
			{PID: 11, Started: 11, Comm: "nginx", Exe: "/usr/sbin/nginx", Unit: "nginx.service", Images: []scan.Loaded{nginx}},
			{PID: 12, Started: 12, Comm: "nginx", Exe: "/usr/sbin/nginx", Unit: "other.service", Images: []scan.Loaded{nginx},
				Patches: []scan.Applied{{ID: id, Package: "nginx 1.22.1-9+deb12u10", State: scan.InForce, Images: []string{a}}}},
			{PID: 13, Started: 13, Comm: "nginx", Exe: "/usr/sbin/nginx", Unit: "session-3.scope", Images: []scan.Loaded{nginx},
				Patches: []scan.Applied{{ID: id, Package: "nginx 1.22.1-9+deb12u10", State: "interrupted", Images: []string{a}}}},
			{PID: 14, Started: 14, Comm: "own", Exe: "/opt/own", Images: []scan.Loaded{{Path: "/opt/own", BuildID: a, Deleted: true}}},
			{PID: 15, Started: 15, Comm: "secret", Root: "0123456789ab", Unknown: "permission denied"},
		},
		Reboot: deb.Reboot{Required: true, Packages: []string{"linux-image-6.1.0-38-amd64"}, Kernel: deb.Kernel{Release: "6.1.0-37-amd64", Version: "6.1.140-1",
			Newest: "6.1.0-38-amd64", Next: "6.1.147-1", Old: true}},
	}
}

// golden compares the JSON of a value with the documented one.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %s", file, cmp.Diff(string(want), string(got)))
	}
}

func TestSnapshotHasTheDocumentedShape(t *testing.T) { golden(t, "snapshot.json", sample()) }
func TestInventoryIsWhatTheCatalogNeeds(t *testing.T) {
	golden(t, "inventory.json", sample().Inventory())
}

func TestNeedsNameWhatRunsOldFilesWithoutAHotpatch(t *testing.T) {
	golden(t, "needs.json", sample().Needs())
}

func TestInventoriesPassTheCatalogsChecks(t *testing.T) {
	for name, inv := range map[string]*catalog.Inventory{"sample": sample().Inventory(), "this host": take(t, scan.New(scan.Options{})).Inventory()} {
		b, err := catalog.EncodeJSON(inv)
		if err != nil {
			t.Fatal(err)
		}
		got, err := catalog.DecodeInventory(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(inv, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestUnitIsTheInnermostService(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/nginx.service\n": "nginx.service",
		"0::/init.scope\n":                 "init.scope",
		"0::/\n":                           "",
		"":                                 "",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service\n":        "foo.service",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                "session-3.scope",
		"12:pids:/system.slice/x.service\n1:name=systemd:/system.slice/y.service\n0::/\n": "y.service",
		"0::/system.slice/system-getty.slice/getty@tty1.service\n":                        "getty@tty1.service",
		"garbage": "",
	} {
		if got := scan.Unit(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestContainersAreNamedByTheirRuntimes(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]string{
		"0::/system.slice/docker-" + id + ".scope\n":                      id[:12],
		"0::/docker/" + id + "\n":                                         id[:12],
		"0::/kubepods.slice/pod1.slice/cri-containerd-" + id + ".scope\n": id[:12],
		"0::/machine.slice/libpod-" + id + ".scope/container\n":           id[:12],
		`0::/machine.slice/machine-web\x2d1.scope/payload` + "\n":         "web-1",
		"0::/system.slice/nginx.service\n":                                "mnt:[1]",
		"0::/system.slice/" + strings.ToUpper(id) + ".scope\n":            "mnt:[1]",
	} {
		if got := scan.Container(text, "mnt:[1]"); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestFactsNameEveryObstacleWithItsRemedy(t *testing.T) {
	able := proc.Rights{Effective: 1<<proc.CapSysPtrace | 1<<proc.CapSysAdmin}
	fine := proc.Host{Release: "6.1.0-37-amd64", Machine: "x86_64", Yama: 1, FirstPIDNS: true, FirstUserNS: true}
	for _, c := range []struct {
		name   string
		change func(*proc.Host, *proc.Rights)
		probe  func(catalog.Facts) catalog.Probe
	}{
		{"old kernel", func(h *proc.Host, _ *proc.Rights) { h.Release = "4.16.1" }, func(f catalog.Facts) catalog.Probe { return f.Features }},
		{"yama", func(h *proc.Host, _ *proc.Rights) { h.Yama = 3 }, func(f catalog.Facts) catalog.Probe { return f.Ptrace }},
		{"selinux", func(h *proc.Host, _ *proc.Rights) { h.DenyPtrace = true }, func(f catalog.Facts) catalog.Probe { return f.Ptrace }},
		{"proc_mem", func(h *proc.Host, _ *proc.Rights) { h.ProcMem = "never" }, func(f catalog.Facts) catalog.Probe { return f.Ptrace }},
		{"rights", func(_ *proc.Host, r *proc.Rights) { r.Effective = 0 }, func(f catalog.Facts) catalog.Probe { return f.Ptrace }},
		{"seccomp", func(_ *proc.Host, r *proc.Rights) { r.Effective, r.Seccomp = 1<<proc.CapSysPtrace, 2 }, func(f catalog.Facts) catalog.Probe { return f.Seccomp }},
	} {
		h, r := fine, able
		if f := scan.Judge(h, r); !f.Features.IsZero() || !f.Ptrace.IsZero() || !f.Seccomp.IsZero() || f.Arch != "amd64" {
			t.Errorf("nothing is wrong: %+v", f)
		}
		c.change(&h, &r)
		if p := c.probe(scan.Judge(h, r)); len(p.Found) == 0 || p.Remedy == "" {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	h := fine
	h.Machine = "aarch64"
	if f := scan.Judge(h, able); f.Arch != "aarch64" {
		t.Errorf("arch %s", f.Arch)
	}
}

func FuzzUnit(f *testing.F) {
	f.Add("0::/system.slice/nginx.service\n")
	f.Add("1:name=systemd:/a.scope\n0::/\n")
	f.Fuzz(func(t *testing.T, text string) {
		if u := scan.Unit(text); u != "" && !strings.HasSuffix(u, ".service") && !strings.HasSuffix(u, ".scope") {
			t.Errorf("unit %q", u)
		}
		if c := scan.Container(text, "x"); c == "" {
			t.Error("no name")
		}
	})
}

func FuzzCodename(f *testing.F) {
	f.Add([]byte("NAME=x\nVERSION_CODENAME=bookworm\n"))
	f.Add([]byte("VERSION_CODENAME=\"trixie\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := scan.Codename(b); strings.ContainsAny(s, "\n\x1b") || len(s) > 64 {
			t.Errorf("%q", s)
		}
	})
}
