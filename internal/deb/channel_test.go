package deb_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/deb"
	"hotpatch/internal/testkit"
)

// pkg is a package to be made. Files are name → content, scripts likewise.
type pkg struct {
	name, version string
	fields        string // further lines of the control file
	files         map[string]string
	scripts       map[string]string
	conffiles     []string
	changes       string // changelog entry's text
}

func (p pkg) deb(t testing.TB) []byte {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: 12\nDescription: for a test\n%s", p.name, p.version, p.fields)
	if p.changes != "" {
		if p.files == nil {
			p.files = map[string]string{}
		}
		p.files["/usr/share/doc/"+p.name+"/changelog.gz"] = gz(t, fmt.Sprintf("%s (%s) stable; urgency=medium\n\n  * %s\n\n -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n", p.name, p.version, p.changes))
	}
	ctl := []entry{dir("./"), file("./control", control)}
	sums := ""
	made := map[string]bool{}
	data := []entry{dir("./")}
	var names []string
	for name := range p.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for i := 1; i < len(name); i++ {
			if d := name[:i]; name[i] == '/' && !made[d] {
				made[d] = true
				data = append(data, dir("."+d+"/"))
			}
		}
		data = append(data, file("."+name, p.files[name]))
		if !slices.Contains(p.conffiles, name) {
			sum := md5.Sum([]byte(p.files[name]))
			sums += hex.EncodeToString(sum[:]) + "  " + name[1:] + "\n"
		}
	}
	ctl = append(ctl, file("./md5sums", sums))
	if len(p.conffiles) > 0 {
		ctl = append(ctl, file("./conffiles", strings.Join(p.conffiles, "\n")+"\n"))
	}
	for name, text := range p.scripts {
		e := file("./"+name, "#!/bin/sh\n"+text)
		e.mode = 0o755
		ctl = append(ctl, e)
	}
	return makeAr(
		arMember{"debian-binary", []byte("2.0\n")},
		arMember{"control.tar.gz", pack(t, ".gz", makeTar(t, ctl...))},
		arMember{"data.tar.gz", pack(t, ".gz", makeTar(t, data...))},
	)
}

// debian is a private root with an archive of its own: nothing of this host's
// dpkg is touched.
type debian struct {
	deb.System
	t    testing.TB
	repo string
}

func newDebian(t testing.TB) *debian {
	t.Helper()
	testkit.Tools(t, "apt-get", "apt-cache", "dpkg", "dpkg-deb")
	root := t.TempDir()
	d := &debian{System: deb.System{Root: root, Outside: true, LockWait: -1}, t: t, repo: filepath.Join(root, "srv")}
	for _, name := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "usr/sbin", "var/log", "srv", "tmp", "etc/dpkg/dpkg.cfg.d"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.write("var/lib/dpkg/status", "")
	d.write("var/lib/dpkg/available", "")
	// Nothing of this host's configuration: its hooks, above all.
	d.write("apt.conf", fmt.Sprintf("Dir::Etc \"%s/etc/apt\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::parts \"%[1]s/etc/apt/apt.conf.d\";\nAPT::Architecture \"%s\";\n", root, deb.Arch()))
	t.Setenv("APT_CONFIG", filepath.Join(root, "apt.conf"))
	// dpkg wants these in PATH; without privileges ldconfig is in none.
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	return d
}

func (d *debian) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.Root, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *debian) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.Root, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// suite publishes packages as an archive of that name, and fetches its list.
func (d *debian) suite(codename, label string, pkgs ...pkg) {
	d.t.Helper()
	dists := filepath.Join(d.repo, "dists", codename)
	index := filepath.Join(dists, "main", "binary-"+deb.Arch())
	if err := os.MkdirAll(index, 0o755); err != nil {
		d.t.Fatal(err)
	}
	packages := ""
	for _, p := range pkgs {
		b := p.deb(d.t)
		name := codename + "_" + p.name + "_" + strings.ReplaceAll(p.version, ":", "_") + ".deb"
		if err := os.WriteFile(filepath.Join(d.repo, name), b, 0o644); err != nil {
			d.t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		packages += fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: 12\nFilename: %s\nSize: %d\nSHA256: %s\nDescription: for a test\n%s\n",
			p.name, p.version, name, len(b), hex.EncodeToString(sum[:]), p.fields)
	}
	if err := os.WriteFile(filepath.Join(index, "Packages"), []byte(packages), 0o644); err != nil {
		d.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(packages))
	release := fmt.Sprintf("Origin: Test\nLabel: %s\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n %s %d main/binary-%s/Packages\n",
		label, codename, codename, time.Now().UTC().Format(time.RFC1123), deb.Arch(), hex.EncodeToString(sum[:]), len(packages), deb.Arch())
	if err := os.WriteFile(filepath.Join(dists, "Release"), []byte(release), 0o644); err != nil {
		d.t.Fatal(err)
	}
	list := "etc/apt/sources.list.d/" + codename + ".list"
	d.write(list, fmt.Sprintf("deb [trusted=yes arch=%s] copy:%s %s main\n", deb.Arch(), d.repo, codename))
	if err := d.Update(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// have installs packages with dpkg alone, as if they had been there.
func (d *debian) have(pkgs ...pkg) {
	d.t.Helper()
	args := []string{"--root=" + d.Root, "--force-script-chrootless", "--force-not-root", "--log=/dev/null", "-i"}
	for n, p := range pkgs {
		name := filepath.Join(d.Root, "tmp", fmt.Sprintf("%d.deb", n))
		if err := os.WriteFile(name, p.deb(d.t), 0o644); err != nil {
			d.t.Fatal(err)
		}
		args = append(args, name)
	}
	if out, err := exec.Command("dpkg", args...).CombinedOutput(); err != nil {
		d.t.Fatalf("dpkg: %v\n%s", err, out)
	}
}

func (d *debian) version(name string) string {
	d.t.Helper()
	all, err := d.Dpkg().Status()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range all {
		if i.Package == name {
			return i.Version + " " + i.State
		}
	}
	return ""
}

func (d *debian) mustBeTidy() {
	d.t.Helper()
	for _, name := range []string{"usr/sbin/policy-rc.d", "var/lib/hotpatch/deb/job.json", "var/lib/hotpatch/deb/guard"} {
		if _, err := os.Lstat(filepath.Join(d.Root, name)); !errors.Is(err, os.ErrNotExist) {
			d.t.Errorf("%s is still there (%v)", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.Root, "var/lib/hotpatch/deb/archives/.fetch-*")); len(left) > 0 {
		d.t.Errorf("%q are still there", left)
	}
	x, err := d.Situation()
	if err != nil {
		d.t.Fatal(err)
	}
	if !x.Clean() || x.Job != nil || x.Guarded || x.Locked != nil {
		d.t.Errorf("situation %+v, want nothing", x)
	}
}

func choose(args ...string) []deb.Choice {
	var out []deb.Choice
	for _, a := range args {
		name, version, _ := strings.Cut(a, "=")
		out = append(out, deb.Choice{Package: name, Version: version})
	}
	return out
}

// One daemon in two versions, whose scripts want it restarted in every way.
func daemon(version string) pkg {
	return pkg{
		name: "daemon", version: version,
		files:     map[string]string{"/usr/sbin/daemon": "program " + version, "/etc/daemon.conf": "as shipped in " + version},
		conffiles: []string{"/etc/daemon.conf"},
		changes:   "Fix CVE-2026-" + strings.NewReplacer(".", "").Replace("000"+version),
		scripts: map[string]string{
			"prerm": "deb-systemd-invoke stop daemon.service\nexit 0\n",
			"postinst": `set -e
systemctl --quiet try-restart 'daemon.service'
invoke-rc.d daemon restart
service daemon reload
systemctl --now --root="$DPKG_ROOT" enable other.service 2>/dev/null || :
command -v start-stop-daemon >/dev/null
echo "$DPKG_MAINTSCRIPT_NAME $NEEDRESTART_SUSPEND" >> "$DPKG_ROOT/marks"
`},
	}
}

func exists(name string) bool { _, err := os.Stat(name); return err == nil }

func TestInstallRestartsNothingAndSaysWhatWasWanted(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "daemon", version: "1.0", files: daemon("1.0").files, conffiles: []string{"/etc/daemon.conf"},
		scripts: map[string]string{"prerm": "deb-systemd-invoke stop daemon.service\nexit 0\n"}})
	d.write("etc/daemon.conf", "the administrator's")
	d.suite("stable", "Test", daemon("1.1"))
	testkit.Tools(t, "systemctl", "service", "invoke-rc.d", "deb-systemd-invoke")

	r, err := d.Install(context.Background(), choose("daemon=1.1"), deb.PlanOptions{})
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Tail)
	}
	if !r.Done() || len(r.Items) != 1 || r.Items[0].From != "1.0" || r.Items[0].To != "1.1" || r.Items[0].Check.Files != 2 {
		t.Errorf("items %+v", r.Items)
	}
	if got := d.read("usr/sbin/daemon"); got != "program 1.1" {
		t.Errorf("the program is %q", got)
	}
	if got := d.read("etc/daemon.conf"); got != "the administrator's" {
		t.Errorf("the configuration is %q", got)
	}
	if got := d.read("marks"); got != "postinst 1\n" {
		t.Errorf("postinst said %q", got)
	}
	var got []string
	for _, a := range r.Withheld {
		got = append(got, a.Package+" "+a.Script+" "+a.Tool+" "+strings.Join(a.Args, " "))
	}
	want := []string{
		"daemon prerm deb-systemd-invoke stop daemon.service",
		"daemon postinst systemctl --quiet try-restart daemon.service",
		"daemon postinst invoke-rc.d daemon restart",
		"daemon postinst service daemon reload",
		"daemon postinst systemctl --now --root=" + d.Root + " enable other.service",
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("withheld %q lacks %q", got, w)
		}
	}
	d.mustBeTidy()
}

func TestPolicyOfAnAdministratorStaysAndIsCovered(t *testing.T) {
	const theirs = "#!/bin/sh\nexit 0\n"
	up := pkg{name: "daemon", version: "1.1", scripts: map[string]string{
		// What dpkg's scripts find under the name, as invoke-rc.d would ask it.
		"postinst": `"$DPKG_ROOT/usr/sbin/policy-rc.d" daemon restart; echo $? > "$DPKG_ROOT/answer"` + "\n"}}
	for _, c := range []struct {
		name, policy string
	}{{name: "allowing", policy: theirs}, {name: "refusing", policy: "#!/bin/sh\nexit 101\n"}} {
		t.Run(c.name, func(t *testing.T) {
			d := newDebian(t)
			testkit.Need(t, c.policy != theirs || os.Geteuid() == 0, "root (to cover a file)")
			d.have(pkg{name: "daemon", version: "1.0"})
			d.suite("stable", "Test", up)
			name := filepath.Join(d.Root, "usr/sbin/policy-rc.d")
			if err := os.WriteFile(name, []byte(c.policy), 0o755); err != nil {
				t.Fatal(err)
			}
			r, err := d.Install(context.Background(), choose("daemon=1.1"), deb.PlanOptions{})
			if errors.Is(err, deb.ErrPolicy) {
				testkit.Need(t, false, "the right to mount")
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, r.Tail)
			}
			if got := d.read("answer"); got != "101\n" {
				t.Errorf("policy answered %q during the installation", got)
			}
			if got := d.read("usr/sbin/policy-rc.d"); got != c.policy {
				t.Errorf("the administrator's policy is now %q", got)
			}
		})
	}
}

func TestLeftoverPolicyIsAsGoodAsNone(t *testing.T) {
	testkit.Tools(t, "flock")
	d := newDebian(t)
	if err := d.Raise(context.Background()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.Root, "usr/sbin/policy-rc.d")
	code := func(env ...string) int {
		cmd := exec.Command(name, "x", "restart")
		cmd.Env = append(os.Environ(), env...)
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	want := 104
	if !exists("/sbin/init") {
		want = 101
	}
	if got := code(); got != want {
		t.Errorf("a leftover says %d, want %d", got, want)
	}
	x, err := d.Situation()
	if err != nil || !x.Guarded {
		t.Errorf("situation %+v, %v: want it to name the leftover", x, err)
	}
	// The next run takes it away.
	d.have(pkg{name: "aa", version: "1"})
	d.suite("stable", "Test", pkg{name: "aa", version: "2"})
	if _, err := d.Install(context.Background(), choose("aa=2"), deb.PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	d.mustBeTidy()
}

func TestPendingNamesOriginsAndSecurity(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "daemon", version: "1.0"}, pkg{name: "plain", version: "1"}, pkg{name: "same", version: "1"}, pkg{name: "held", version: "1"}, pkg{name: "both", version: "1"})
	d.suite("stable", "Test", pkg{name: "plain", version: "2"}, pkg{name: "same", version: "1"}, pkg{name: "both", version: "3"}, pkg{name: "held", version: "2"})
	d.suite("stable-security", "Test-Security", daemon("1.1"), pkg{name: "both", version: "2"})
	d.hold("held")
	cs, err := d.Pending(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cs {
		o := ""
		for _, x := range c.Origins {
			o += " " + x.Origin + "/" + x.Label + "/" + x.Codename + "/" + x.Component
		}
		got = append(got, fmt.Sprintf("%s %s>%s security=%v held=%v%s", c.Package, c.Installed, c.Version, c.Security, c.Held, o))
		if c.Size == 0 || len(c.SHA256) != 64 {
			t.Errorf("%s has size %d and digest %q", c.Package, c.Size, c.SHA256)
		}
	}
	want := []string{
		"both 1>3 security=true held=false Test/Test/stable/main", // a later release carries the security fix
		"daemon 1.0>1.1 security=true held=false Test/Test-Security/stable-security/main",
		"held 1>2 security=false held=true Test/Test/stable/main",
		"plain 1>2 security=false held=false Test/Test/stable/main",
	}
	if !slices.Equal(got, want) {
		t.Errorf("pending\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for range 2 { // the second time from memory
		x, err := d.Changes(context.Background(), cs[1], cs)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x.CVEs, []string{"CVE-2026-00011"}) || len(x.Entries) != 1 {
			t.Errorf("changes %+v", x)
		}
		if err := os.RemoveAll(d.repo); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(d.Root, "var/lib/hotpatch/deb/archives")); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *debian) hold(name string) {
	d.t.Helper()
	cmd := exec.Command("dpkg", "--root="+d.Root, "--force-not-root", "--set-selections")
	cmd.Stdin = strings.NewReader(name + " hold\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
}

func TestPlansThatGoBeyondTheChoiceAreRefused(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "app", version: "1"}, pkg{name: "lib", version: "1"}, pkg{name: "other", version: "1"}, pkg{name: "kept", version: "1"}, pkg{name: "app-common", version: "1", fields: "Source: app\n"}, pkg{name: "late", version: "5"})
	d.suite("stable", "Test",
		pkg{name: "app", version: "2", fields: "Depends: lib (>= 2)\n"},
		pkg{name: "app", version: "3", fields: "Conflicts: other\n"},
		pkg{name: "app", version: "4", fields: "Depends: fresh\n"},
		pkg{name: "app", version: "5", fields: "Depends: nowhere\n"},
		pkg{name: "app", version: "6", fields: "Recommends: fresh\n"},
		pkg{name: "app", version: "7", fields: "Depends: app-common (>= 7)\n"}, pkg{name: "app-common", version: "7", fields: "Source: app\n"},
		pkg{name: "app", version: "8", fields: "Depends: app-common (>= 9)\n"},
		pkg{name: "lib", version: "2"}, pkg{name: "fresh", version: "1"}, pkg{name: "kept", version: "2"}, pkg{name: "late", version: "4"})
	d.hold("kept")
	for _, c := range []struct {
		name    string
		chosen  []deb.Choice
		codes   []string
		pkgs    []string
		added   []string
		changes int
	}{
		{"another would change", choose("app=2"), []string{deb.ReasonBeyond}, []string{"lib"}, nil, 2},
		{"both chosen", choose("app=2", "lib=2"), nil, nil, nil, 2},
		{"removal", choose("app=3"), []string{deb.ReasonRemoves}, []string{"other"}, nil, 0},
		{"new dependency", choose("app=4"), nil, nil, []string{"fresh"}, 2},
		{"dependency that is nowhere", choose("app=5"), []string{deb.ReasonUnsolvable}, []string{""}, nil, 0},
		{"recommendation", choose("app=6"), nil, nil, nil, 1},
		{"what goes along", choose("app=7"), nil, nil, nil, 2},
		{"what goes along is nowhere", choose("app=8"), []string{deb.ReasonUnsolvable}, []string{""}, nil, 0},
		{"hold", choose("kept=2"), []string{deb.ReasonHeld}, []string{"kept"}, nil, 1},
		{"not installed", choose("fresh=1"), []string{deb.ReasonMissing}, []string{"fresh"}, nil, 1},
		{"downgrade", choose("late=4"), []string{deb.ReasonDowngrade}, []string{"late"}, nil, -1},
		{"unknown version", choose("app=99"), []string{deb.ReasonUnsolvable}, []string{""}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := d.Plan(context.Background(), c.chosen, deb.PlanOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var codes, pkgs []string
			for _, r := range p.Refused {
				if !slices.Contains(codes, r.Code) {
					codes, pkgs = append(codes, r.Code), append(pkgs, r.Package)
				}
			}
			if c.codes != nil && (len(codes) == 0 || codes[0] != c.codes[0] || pkgs[0] != c.pkgs[0]) || c.codes == nil && codes != nil {
				t.Errorf("refused %+v, want %q of %q", p.Refused, c.codes, c.pkgs)
			}
			if !slices.Equal(p.Added, c.added) && len(p.Added)+len(c.added) > 0 {
				t.Errorf("added %q, want %q", p.Added, c.added)
			}
			if c.codes == nil && len(p.Changes) != c.changes {
				t.Errorf("changes %+v", p.Changes)
			}
			if c.codes == nil {
				return
			}
			before := d.read("var/lib/dpkg/status")
			var refused *deb.RefusedError
			if _, err := d.Install(context.Background(), c.chosen, deb.PlanOptions{}); !errors.As(err, &refused) || !refused.Has(c.codes[0]) {
				t.Errorf("installed: %v, want a refusal", err)
			}
			if d.read("var/lib/dpkg/status") != before {
				t.Error("a refusal changed something")
			}
		})
	}
	t.Run("the same source goes along", func(t *testing.T) {
		d.suite("stable", "Test", pkg{name: "late", version: "4"},
			pkg{name: "app", version: "7", fields: "Depends: app-common (>= 7), app-common (<< 8)\n"}, pkg{name: "app-common", version: "7", fields: "Source: app\n"},
			// apt would take this one, which is too new.
			pkg{name: "app", version: "8"}, pkg{name: "app-common", version: "8", fields: "Source: app\n"})
		p, err := d.Plan(context.Background(), choose("app=7"), deb.PlanOptions{Exact: true})
		if err != nil || len(p.Refused) == 0 {
			t.Errorf("exactly: %+v %v", p, err)
		}
		r, err := d.Install(context.Background(), choose("app=7"), deb.PlanOptions{})
		if err != nil || len(r.Items) != 2 || !r.Done() || d.version("app-common") != "7 installed" || d.version("app") != "7 installed" {
			t.Errorf("%v %+v\n%s", err, r.Items, r.Tail)
		}
	})
	t.Run("downgrade that is wanted", func(t *testing.T) {
		r, err := d.Install(context.Background(), choose("late=4"), deb.PlanOptions{Downgrade: true})
		if err != nil || d.version("late") != "4 installed" {
			t.Errorf("%v, late is %s\n%s", err, d.version("late"), r.Tail)
		}
	})
	d.mustBeTidy()
}

func TestInstallLeavesAutomaticPackagesAutomatic(t *testing.T) {
	d := newDebian(t)
	testkit.Tools(t, "apt-mark")
	d.have(pkg{name: "lib", version: "1"}, pkg{name: "app", version: "1", fields: "Depends: lib\n"})
	d.suite("stable", "Test", pkg{name: "lib", version: "2"})
	d.write("var/lib/apt/extended_states", "Package: lib\nArchitecture: "+deb.Arch()+"\nAuto-Installed: 1\n\n")
	if r, err := d.Install(context.Background(), choose("lib=2"), deb.PlanOptions{}); err != nil {
		t.Fatalf("%v\n%s", err, r.Tail)
	}
	if got := d.read("var/lib/apt/extended_states"); !strings.Contains(got, "Package: lib") || !strings.Contains(got, "Auto-Installed: 1") {
		t.Errorf("extended_states is now %q", got)
	}
	d.mustBeTidy()
}

func TestWhatIsInstalledAlreadyIsVerified(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "aa", version: "1", files: map[string]string{"/usr/bin/a": "one", "/usr/bin/b": "two", "/usr/share/doc/aa/x": "doc"}})
	d.suite("stable", "Test", pkg{name: "aa", version: "1", files: map[string]string{"/usr/bin/a": "one", "/usr/bin/b": "two", "/usr/share/doc/aa/x": "doc"}})
	for _, c := range []struct {
		do      func()
		outcome string
		check   deb.Check
	}{
		{func() {}, deb.OutcomeInstalled, deb.Check{Files: 3}},
		{func() { d.write("usr/bin/a", "changed") }, deb.OutcomeModified, deb.Check{Files: 2, Modified: []string{"/usr/bin/a"}}},
		{func() { _ = os.Remove(filepath.Join(d.Root, "usr/share/doc/aa/x")) }, deb.OutcomeModified,
			deb.Check{Files: 1, Modified: []string{"/usr/bin/a"}, Missing: []string{"/usr/share/doc/aa/x"}}},
		{func() {
			d.write("etc/dpkg/dpkg.cfg.d/docs", "# none\npath-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n")
		}, deb.OutcomeModified, deb.Check{Files: 1, Modified: []string{"/usr/bin/a"}}},
	} {
		c.do()
		r, err := d.Install(context.Background(), choose("aa=1"), deb.PlanOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Items[0]; got.Outcome != c.outcome || fmt.Sprint(got.Check) != fmt.Sprint(c.check) {
			t.Errorf("%+v, want %s %+v", got, c.outcome, c.check)
		}
	}
}

func TestDamagedDownloadIsFetchedAnew(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "aa", version: "1"})
	d.suite("stable", "Test", pkg{name: "aa", version: "2"})
	p, err := d.Plan(context.Background(), choose("aa=2"), deb.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Download(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	// A power cut may leave a file of the right size without content.
	name := filepath.Join(d.Root, "var/lib/hotpatch/deb/archives/aa_2_all.deb")
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, st.Size()), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := d.Install(context.Background(), choose("aa=2"), deb.PlanOptions{})
	if err != nil || !r.Done() {
		t.Fatalf("%v %+v\n%s", err, r.Items, r.Tail)
	}
	// And what the archive itself delivers must be what its list says.
	d.suite("stable", "Test", pkg{name: "aa", version: "3"})
	debs, _ := filepath.Glob(filepath.Join(d.repo, "*_3.deb"))
	if err := os.WriteFile(debs[0], pkg{name: "aa", version: "3", fields: "Homepage: evil\n"}.deb(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Install(context.Background(), choose("aa=3"), deb.PlanOptions{}); err == nil {
		t.Error("a package with another digest was installed")
	}
	if got := d.version("aa"); got != "2 installed" {
		t.Errorf("a is %s", got)
	}
	d.mustBeTidy()
}

func TestLockHolderIsNamed(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "aa", version: "1"})
	d.suite("stable", "Test", pkg{name: "aa", version: "2"})
	d.LockWait = 300 * time.Millisecond
	name := filepath.Join(d.Root, "var/lib/dpkg/lock-frontend")
	holder := holdLock(t, name)
	start := time.Now()
	_, err := d.Install(context.Background(), choose("aa=2"), deb.PlanOptions{})
	var locked *deb.LockedError
	if !errors.As(err, &locked) || locked.PID != holder || locked.Path != name || locked.Name == "" {
		t.Errorf("%v (%+v), want it to name process %d", err, locked, holder)
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("waited %v", took)
	}
	x, err := d.Situation()
	if err != nil || x.Locked == nil || x.Locked.PID != holder {
		t.Errorf("situation %+v, %v", x, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	d.LockWait = time.Hour
	if _, err := d.Install(ctx, choose("aa=2"), deb.PlanOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
}

// holdLock lets another process hold a lock as dpkg does.
func holdLock(t *testing.T, name string) int {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestHelperHoldsALock$")
	cmd.Env = append(os.Environ(), "DEB_TEST_LOCK="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestHelperHoldsALock(t *testing.T) {
	name := os.Getenv("DEB_TEST_LOCK")
	if name == "" {
		return // for holdLock only
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	time.Sleep(time.Minute)
}
