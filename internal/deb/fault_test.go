package deb_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/deb"
	"hotpatch/internal/testkit"
)

// TestHelperInstalls is the process that is killed.
func TestHelperInstalls(t *testing.T) {
	root := os.Getenv("DEB_TEST_ROOT")
	if root == "" {
		return // for startInstall only
	}
	s := deb.System{Root: root, Outside: true, LockWait: -1}
	if _, err := s.Install(context.Background(), choose(strings.Fields(os.Getenv("DEB_TEST_CHOOSE"))...), deb.PlanOptions{}); err != nil {
		t.Fatal(err)
	}
}

// startInstall starts an installation in a process of its own and waits until a
// package's script comes to its mark, where it waits. It returns the process
// and dpkg's process group.
func (d *debian) startInstall(chosen string) (helper *exec.Cmd, group int) {
	d.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestHelperInstalls$")
	cmd.Env = append(os.Environ(), "DEB_TEST_ROOT="+d.Root, "DEB_TEST_CHOOSE="+chosen)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	mark := filepath.Join(d.Root, "mark")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(mark)
		if err != nil || !bytes.HasSuffix(b, []byte("\n")) {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			d.t.Fatal(err)
		}
		if group, err = syscall.Getpgid(pid); err != nil {
			d.t.Fatal(err)
		}
		if group == syscall.Getpgrp() {
			d.t.Fatal("dpkg runs in our own process group")
		}
		return cmd, group
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	d.t.Fatalf("no script came to its mark\n%s", out.String())
	return nil, 0
}

// pausing stops at its mark until the file "go" is there.
const pausing = `if [ -e "$DPKG_ROOT/armed" ]; then
	rm "$DPKG_ROOT/armed"; echo $PPID > "$DPKG_ROOT/mark"
	while [ ! -e "$DPKG_ROOT/go" ]; do sleep 0.02; done
fi
deb-systemd-invoke restart x.service || :
`

func TestRepairAfterAPowerCutAtAnyStep(t *testing.T) {
	for _, c := range []struct {
		name, script, in string
		before           bool // the old files are all still there
	}{
		{"before the first file", "preinst", "one", true},
		{"between two packages", "preinst", "two", false},
		{"while the old one is replaced", "postrm", "one", false}, // called as "postrm upgrade" by the old package
		{"before configuring", "postinst", "one", false},
		{"while the last is configured", "postinst", "two", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDebian(t)
			v := func(name, version string) pkg {
				p := pkg{name: name, version: version, files: map[string]string{"/usr/bin/" + name: version, "/usr/lib/" + name + ".so": "lib " + version}}
				if name == c.in {
					p.scripts = map[string]string{c.script: pausing}
				}
				if name == "two" {
					p.fields = "Depends: one\n"
				}
				return p
			}
			d.have(v("one", "1"), v("two", "1"))
			d.suite("stable", "Test", v("one", "2"), v("two", "2"))
			d.write("armed", "")
			cmd, group := d.startInstall("one=2 two=2")
			// Everything dies at once.
			if err := errors.Join(cmd.Process.Kill(), syscall.Kill(-group, syscall.SIGKILL)); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			waitUnlocked(t, d)

			x, err := d.Situation()
			if err != nil {
				t.Fatal(err)
			}
			if x.Clean() || len(x.Job) != 2 || !x.Guarded || x.Started.IsZero() {
				t.Errorf("situation %+v, want an unfinished job and a leftover guard", x)
			}
			var refused *deb.RefusedError
			if _, err := d.Install(context.Background(), choose("one=2", "two=2"), deb.PlanOptions{}); !errors.As(err, &refused) || !refused.Has(deb.ReasonUnclean) {
				t.Errorf("install on top of it: %v, want a refusal", err)
			}
			d.write("go", "")
			r, err := d.Repair(context.Background())
			if err != nil {
				t.Fatalf("%v\n%s", err, r.Tail)
			}
			if !r.Done() || len(r.Items) != 2 {
				// What dpkg never came to is left as it was, and can be installed now.
				for _, i := range r.Items {
					if i.Outcome != deb.OutcomeInstalled && i.Outcome != deb.OutcomeUnchanged {
						t.Errorf("after repair: %+v", i)
					}
				}
				if r, err := d.Install(context.Background(), choose("one=2", "two=2"), deb.PlanOptions{}); err != nil {
					t.Fatalf("%v\n%s", err, r.Tail)
				}
			}
			for _, name := range []string{"one", "two"} {
				if got := d.version(name); got != "2 installed" {
					t.Errorf("%s is %s", name, got)
				}
				if got := d.read("usr/lib/" + name + ".so"); got != "lib 2" {
					t.Errorf("its file is %q", got)
				}
			}
			d.mustBeTidy()
		})
	}
}

func waitUnlocked(t *testing.T, d *debian) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		held, err := d.Locked()
		if err != nil {
			t.Fatal(err)
		}
		if held == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(held)
		}
	}
}

func TestDpkgGoesOnWhenOnlyWeAreKilled(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "one", version: "1"})
	d.suite("stable", "Test", pkg{name: "one", version: "2", scripts: map[string]string{"postinst": pausing}})
	d.write("armed", "")
	cmd, _ := d.startInstall("one=2")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Who comes meanwhile is kept away: our lock lives on in apt-get.
	var locked *deb.LockedError
	if _, err := d.Repair(context.Background()); !errors.As(err, &locked) {
		t.Errorf("%v, want it locked", err)
	}
	d.write("go", "")
	d.LockWait = 20 * time.Second
	r, err := d.Repair(context.Background())
	if err != nil || !r.Done() || r.Items[0].To != "2" {
		t.Errorf("%v %+v", err, r.Items)
	}
	d.mustBeTidy()
}

func TestDpkgThatHangsIsStopped(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "one", version: "1"})
	d.suite("stable", "Test", pkg{name: "one", version: "2", scripts: map[string]string{"postinst": pausing}})
	d.write("armed", "")
	d.Limit = 2 * time.Second
	if _, err := d.Install(context.Background(), choose("one=2"), deb.PlanOptions{}); !errors.Is(err, deb.ErrLimit) || !errors.Is(err, deb.ErrUnfinished) {
		t.Errorf("%v, want the limit and what it left", err)
	}
	waitUnlocked(t, d)
	d.Limit = 0
	if r, err := d.Repair(context.Background()); err != nil || !r.Done() {
		t.Errorf("%v %+v\n%s", err, r.Items, r.Tail)
	}
	d.mustBeTidy()
}

func TestOthersInterruptedInstallationIsInstalledAnew(t *testing.T) {
	d := newDebian(t)
	v := func(version string) pkg {
		return pkg{name: "one", version: version, files: map[string]string{"/usr/bin/one": version}, scripts: map[string]string{"preinst": pausing}}
	}
	d.have(v("1"))
	d.suite("stable", "Test", v("2"))
	d.write("armed", "")
	d.write("two.deb", string(v("2").deb(t)))
	cmd := exec.Command("dpkg", "--root="+d.Root, "--force-script-chrootless", "--force-not-root", "--log=/dev/null", "-i", filepath.Join(d.Root, "two.deb"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(d.Root, "mark")) {
		time.Sleep(5 * time.Millisecond)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitUnlocked(t, d)
	d.write("go", "")
	// Nobody here knows its file.
	r, err := d.Repair(context.Background())
	if !errors.Is(err, deb.ErrUnfinished) {
		t.Fatalf("%v\n%s", err, r.Tail)
	}
	x, err := d.Situation()
	if err != nil || len(x.Unfinished) != 1 || x.Unfinished[0].State != "half-installed" {
		t.Fatalf("%+v %v", x, err)
	}
	again := x.Unfinished
	again[0].Version = "2" // the archive has no other any more
	if r, err = d.Reinstall(context.Background(), again); err != nil || !r.Done() || d.version("one") != "2 installed" || d.read("usr/bin/one") != "2" {
		t.Errorf("%v %+v\n%s", err, r.Items, r.Tail)
	}
	d.mustBeTidy()
}

func TestProcessesThatEndAllTheSameAreNamed(t *testing.T) {
	d := newDebian(t)
	sleep, err := exec.LookPath("sleep")
	testkit.Need(t, err == nil, "sleep")
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	v := func(version string) pkg {
		return pkg{name: "daemon", version: version, files: map[string]string{"/usr/sbin/daemon": string(program)},
			// Goes around every policy.
			scripts: map[string]string{"postinst": `[ ! -e "$DPKG_ROOT/pid" ] || kill -9 $(cat "$DPKG_ROOT/pid")` + "\n"}}
	}
	d.have(v("1"))
	d.suite("stable", "Test", v("2"), v("3"))
	exe := filepath.Join(d.Root, "usr/sbin/daemon")
	if err := os.Chmod(exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r, err := d.Install(context.Background(), choose("daemon=2"), deb.PlanOptions{})
	if err != nil || len(r.Ended) != 0 {
		t.Errorf("%v, ended %+v", err, r.Ended)
	}
	d.write("pid", strconv.Itoa(cmd.Process.Pid))
	r, err = d.Install(context.Background(), choose("daemon=3"), deb.PlanOptions{})
	if err != nil || len(r.Ended) != 1 || r.Ended[0].PID != cmd.Process.Pid {
		t.Errorf("%v, ended %+v, want %d", err, r.Ended, cmd.Process.Pid)
	}
}

func TestScriptThatFailsLeavesAClearState(t *testing.T) {
	d := newDebian(t)
	d.have(pkg{name: "one", version: "1"})
	d.suite("stable", "Test", pkg{name: "one", version: "2", scripts: map[string]string{"postinst": `[ -e "$DPKG_ROOT/go" ] || exit 3` + "\n"}})
	r, err := d.Install(context.Background(), choose("one=2"), deb.PlanOptions{})
	if !errors.Is(err, deb.ErrUnfinished) || len(r.Items) != 1 || r.Items[0].Outcome != deb.OutcomeBroken || !strings.Contains(r.Tail, "exit status 3") {
		t.Errorf("%v %+v\n%s", err, r.Items, r.Tail)
	}
	if r, err := d.Repair(context.Background()); !errors.Is(err, deb.ErrUnfinished) {
		t.Errorf("repair of what cannot be: %v %+v", err, r.Items)
	}
	d.write("go", "")
	if r, err := d.Repair(context.Background()); err != nil || !r.Done() {
		t.Errorf("%v %+v\n%s", err, r.Items, r.Tail)
	}
	d.mustBeTidy()
}

func TestDiskThatIsTooSmallIsRefusedAndOneThatFillsUpIsRepaired(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root (to mount)")
	d := newDebian(t)
	big := strings.Repeat("x", 3<<20)
	d.have(pkg{name: "one", version: "1", files: map[string]string{"/usr/bin/one": "1"}})
	usr := filepath.Join(d.Root, "usr")
	if err := syscall.Mount("none", usr, "tmpfs", 0, "size=2m"); err != nil {
		testkit.Need(t, false, "the right to mount: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(usr, syscall.MNT_DETACH) })
	for _, name := range []string{"bin", "sbin"} {
		if err := os.Mkdir(filepath.Join(usr, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.write("usr/bin/one", "1")
	// It says 12 KiB and has 3 MiB: the check cannot know.
	d.suite("stable", "Test", pkg{name: "one", version: "2", files: map[string]string{"/usr/bin/one": big}},
		pkg{name: "one", version: "3", files: map[string]string{"/usr/bin/one": "3"}, fields: ""})
	r, err := d.Install(context.Background(), choose("one=2"), deb.PlanOptions{})
	if err == nil || !strings.Contains(r.Tail, "No space left") {
		t.Fatalf("%v\n%s", err, r.Tail)
	}
	if r.Items[0].Outcome == deb.OutcomeInstalled {
		t.Errorf("%+v", r.Items)
	}
	x, err := d.Situation()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after it: %s", d.version("one"))
	if !x.Clean() {
		if err := syscall.Mount("none", usr, "", syscall.MS_REMOUNT, "size=20m"); err != nil {
			t.Fatal(err)
		}
		if r, err := d.Repair(context.Background()); err != nil {
			t.Fatalf("%v\n%s", err, r.Tail)
		}
	}
	if r, err := d.Install(context.Background(), choose("one=3"), deb.PlanOptions{}); err != nil || d.read("usr/bin/one") != "3" {
		t.Errorf("%v\n%s", err, r.Tail)
	}
	d.mustBeTidy()

	// And what is known to be too much is not begun.
	if err := os.WriteFile(filepath.Join(usr, "fill"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	d.list("one", "4", 40<<10)
	var refused *deb.RefusedError
	if _, err := d.Install(context.Background(), choose("one=4"), deb.PlanOptions{}); !errors.As(err, &refused) || !refused.Has(deb.ReasonSpace) {
		t.Errorf("%v, want no-space", err)
	}
}

// list publishes a version that says it unpacks to so many KiB.
func (d *debian) list(name, version string, kib int) {
	d.t.Helper()
	d.suite("stable", "Test", pkg{name: name, version: version})
	index := filepath.Join("srv/dists/stable/main/binary-"+deb.Arch(), "Packages")
	text := strings.Replace(d.read(index), "Installed-Size: 12", "Installed-Size: "+strconv.Itoa(kib), 1)
	lists, err := filepath.Glob(filepath.Join(d.Root, "var/lib/apt/lists/*_Packages"))
	if err != nil || len(lists) != 1 {
		d.t.Fatal(lists, err)
	}
	if err := os.WriteFile(lists[0], []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}
