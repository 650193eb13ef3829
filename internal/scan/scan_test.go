package scan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/proc"
	"hotpatch/internal/scan"
	"hotpatch/internal/testkit"
)

// A program without a library, so that it runs in any root: it says that it is
// there and waits.
const source = `
static long call(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
void _start(void)
{
	call(1, 1, (long)"up\n", 3);
	for (;;)
		call(34, 0, 0, 0);
}
`

// compile makes the program with a build-id of 20 times this byte.
func compile(t *testing.T, id byte) (program []byte, buildID string) {
	t.Helper()
	testkit.Need(t, runtime.GOARCH == "amd64", "x86-64")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "v.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	buildID = strings.Repeat(fmt.Sprintf("%02x", id), 20)
	out := testkit.Compile(t, filepath.Join(dir, "v"), "-O1", "-static", "-nostdlib", "-fno-stack-protector", "-Wl,--build-id=0x"+buildID, filepath.Join(dir, "v.c"))
	program, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return program, buildID
}

// world is a dpkg database of our own, for a program that lies in a directory of
// the host.
type world struct {
	t    *testing.T
	root string // with the database, and a copy of the program
	name string // of the program, on the host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, root: filepath.Join(dir, "root"), name: filepath.Join(dir, "bin", "victim")}
	for _, d := range []string{filepath.Dir(w.name), w.root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// install puts a version of the program in place as dpkg does, by renaming.
func (w *world) install(version string, program []byte) {
	w.t.Helper()
	replace(w.t, w.name, program)
	replace(w.t, filepath.Join(w.root, w.name), program)
	database(w.t, w.root, version, w.name)
}

func replace(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".dpkg-new", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".dpkg-new", name); err != nil {
		t.Fatal(err)
	}
}

func database(t *testing.T, root, version, file string) {
	t.Helper()
	replace(t, filepath.Join(root, "var/lib/dpkg/info/victim.list"), []byte("/.\n"+filepath.Dir(file)+"\n"+file+"\n"))
	replace(t, filepath.Join(root, "var/lib/dpkg/status"), []byte("Package: victim\nStatus: install ok installed\nArchitecture: amd64\nVersion: "+version+"\nSource: victims (0:"+version+")\n\n"))
}

// start runs the program until the test ends.
func start(t *testing.T, name string, attr *syscall.SysProcAttr, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if attr != nil {
			testkit.Need(t, !errors.Is(err, syscall.EPERM), "the right to make namespaces")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func take(t testing.TB, s *scan.Scanner) *scan.Snapshot {
	t.Helper()
	x, err := s.Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func process(t *testing.T, x *scan.Snapshot, pid int) scan.Process {
	t.Helper()
	i := slices.IndexFunc(x.Processes, func(p scan.Process) bool { return p.PID == pid })
	if i < 0 {
		t.Fatalf("process %d is not listed", pid)
	}
	return x.Processes[i]
}

func victimNeeds(x *scan.Snapshot) (pids []int) {
	for _, n := range x.Needs() {
		if slices.Contains(n.Packages, "victim") {
			pids = append(pids, n.PIDs...)
		}
	}
	return pids
}

func TestDiskMemoryAndNextStartAreToldApart(t *testing.T) {
	v1, id1 := compile(t, 0x11)
	v2, id2 := compile(t, 0x22)
	w := newWorld(t)
	w.install("1", v1)
	old := start(t, w.name, nil)
	patched := map[int]bool{}
	s := scan.New(scan.Options{Root: w.root, Applied: func(pid int) ([]scan.Applied, error) {
		if patched[pid] {
			return []scan.Applied{{ID: "ab", State: scan.InForce, Images: []string{id1}}}, nil
		}
		return nil, nil
	}})
	check := func(pid int, want scan.Loaded) {
		t.Helper()
		want.Path, want.Package = w.name, "victim"
		p := process(t, take(t, s), pid)
		if p.Unknown != "" || len(p.Images) != 1 || p.Images[0] != want {
			t.Errorf("process %d: %+v (%s), want %+v", pid, p.Images, p.Unknown, want)
		}
	}
	check(old, scan.Loaded{BuildID: id1, Version: "1", Disk: "1", Next: id1})

	w.install("2", v2)
	fresh := start(t, w.name, nil)
	check(old, scan.Loaded{BuildID: id1, Version: "1", Disk: "2", Next: id2, Deleted: true})
	check(fresh, scan.Loaded{BuildID: id2, Version: "2", Disk: "2", Next: id2})
	x := take(t, s)
	if got := victimNeeds(x); !slices.Equal(got, []int{old}) {
		t.Errorf("%v need a restart, want %d", got, old)
	}
	i := slices.IndexFunc(x.Packages, func(p scan.Package) bool { return p.Name == "victim" })
	if i < 0 || x.Packages[i].Version != "2" || len(x.Packages[i].Images) != 1 || x.Packages[i].Images[0].BuildID != id2 ||
		x.Packages[i].Source != "victims" || x.Packages[i].SourceVersion != "0:2" {
		t.Errorf("packages %+v", x.Packages)
	}

	patched[old] = true
	x = take(t, s)
	if got := victimNeeds(x); len(got) > 0 {
		t.Errorf("%v need a restart and carry a hotpatch", got)
	}
	if p := process(t, x, old); len(p.Patches) != 1 {
		t.Errorf("patches %+v", p.Patches)
	}

	// The same build again: a reinstallation replaces files and changes nothing.
	w.install("2", v2)
	check(fresh, scan.Loaded{BuildID: id2, Version: "2", Disk: "2", Next: id2, Deleted: true})
	if got := victimNeeds(take(t, s)); len(got) > 0 {
		t.Errorf("%v need a restart after a reinstallation", got)
	}
	if err := os.Remove(w.name); err != nil {
		t.Fatal(err)
	}
	check(fresh, scan.Loaded{BuildID: id2, Version: "2", Disk: "2", Next: "", Deleted: true})
}

func TestCallersKnowledgeNamesTheVersionInMemory(t *testing.T) {
	v1, id1 := compile(t, 0x11)
	v2, id2 := compile(t, 0x22)
	w := newWorld(t)
	w.install("1", v1)
	pid := start(t, w.name, nil)
	w.install("2", v2)
	p := process(t, take(t, scan.New(scan.Options{Root: w.root})), pid)
	if p.Images[0].Version != "" {
		t.Errorf("a scanner that never saw %s says it is %q", id1, p.Images[0].Version)
	}
	known := func(id string) (scan.Origin, bool) {
		return scan.Origin{Package: "victim", Version: "1"}, id == id1
	}
	p = process(t, take(t, scan.New(scan.Options{Root: w.root, Known: known})), pid)
	if want := (scan.Loaded{Path: w.name, BuildID: id1, Package: "victim", Version: "1", Disk: "2", Next: id2, Deleted: true}); p.Images[0] != want {
		t.Errorf("%+v, want %+v", p.Images[0], want)
	}
	// The new version has the program under another name: only the build-id
	// tells the package.
	database(t, w.root, "3", w.name+"-3")
	p = process(t, take(t, scan.New(scan.Options{Root: w.root, Known: known})), pid)
	if g := p.Images[0]; g.Package != "victim" || g.Version != "1" || g.Disk != "3" {
		t.Errorf("%+v", g)
	}
}

func TestWhatCannotBeReadIsUnknownAndNeverFine(t *testing.T) {
	v1, _ := compile(t, 0x11)
	w := newWorld(t)
	w.install("1", v1)
	pid, gone := start(t, w.name, nil), start(t, w.name, nil)
	s := scan.New(scan.Options{Root: w.root, Applied: func(p int) ([]scan.Applied, error) {
		switch p {
		case pid:
			return nil, errors.New("its memory is locked away")
		case gone:
			_ = syscall.Kill(gone, syscall.SIGKILL)
			for i, err := proc.Read(gone); err == nil && i.Live != 0; i, err = proc.Read(gone) {
				time.Sleep(time.Millisecond)
			}
			return nil, proc.ErrGone
		}
		return nil, nil
	}})
	x := take(t, s)
	p := process(t, x, pid)
	if p.Unknown != "its memory is locked away" || p.Images != nil || p.Comm != "victim" {
		t.Errorf("%+v", p)
	}
	if slices.ContainsFunc(x.Processes, func(p scan.Process) bool { return p.PID == gone }) {
		t.Error("what is gone is listed")
	}
	inv := x.Inventory()
	i := slices.IndexFunc(inv.Processes, func(p catalogProcess) bool { return p.PID == pid })
	if i < 0 || inv.Processes[i].Unknown == "" {
		t.Error("the inventory does not say so")
	}
}

func TestProcessesThatEndMeanwhileAreNoError(t *testing.T) {
	v1, _ := compile(t, 0x11)
	w := newWorld(t)
	w.install("1", v1)
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			cmd := exec.Command(w.name)
			if err := cmd.Start(); err != nil {
				done <- err
				return
			}
			time.Sleep(time.Millisecond)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	s := scan.New(scan.Options{Root: w.root})
	for range 20 {
		for _, p := range take(t, s).Processes {
			if p.Comm == "victim" && p.Unknown != "" {
				t.Errorf("%+v", p)
			}
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOtherRootsHaveTheirOwnPackages(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root (for chroot)")
	v1, id1 := compile(t, 0x11)
	v2, id2 := compile(t, 0x22)
	w := newWorld(t)
	w.install("9", v2) // on the host, of the same name
	for _, c := range []struct {
		name string
		attr syscall.SysProcAttr
		kind string
	}{
		{"chroot", syscall.SysProcAttr{}, "chroot"},
		{"container", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, "container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside := t.TempDir()
			replace(t, filepath.Join(inside, "usr/bin/victim"), v1)
			database(t, inside, "1", "/usr/bin/victim")
			// A link that leads out of the root must lead nowhere.
			if err := os.Symlink("/usr", filepath.Join(inside, "lib")); err != nil {
				t.Fatal(err)
			}
			attr := c.attr
			attr.Chroot = inside
			pid := start(t, "/usr/bin/victim", &attr)
			s := scan.New(scan.Options{Root: w.root})
			x := take(t, s)
			p := process(t, x, pid)
			want := scan.Loaded{Path: "/usr/bin/victim", BuildID: id1, Package: "victim", Version: "1", Disk: "1", Next: id1}
			if p.Unknown != "" || p.Root == "" || len(p.Images) != 1 || p.Images[0] != want {
				t.Errorf("%+v, want %+v in another root", p, want)
			}
			i := slices.IndexFunc(x.Roots, func(r scan.Root) bool { return r.Name == p.Root })
			if i < 0 || x.Roots[i].Kind != c.kind || !x.Roots[i].Debian {
				t.Errorf("roots %+v, want %s %s", x.Roots, c.kind, p.Root)
			}
			replace(t, filepath.Join(inside, "usr/bin/victim"), v2)
			database(t, inside, "2", "/usr/bin/victim")
			want.Disk, want.Next, want.Deleted = "2", id2, true
			if p = process(t, take(t, s), pid); len(p.Images) != 1 || p.Images[0] != want {
				t.Errorf("%+v, want %+v", p, want)
			}
		})
	}
}

func TestServiceWithItsOwnMountsIsOfTheHost(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root (for a mount namespace)")
	v1, id1 := compile(t, 0x11)
	w := newWorld(t)
	w.install("1", v1)
	pid := start(t, w.name, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	p := process(t, take(t, scan.New(scan.Options{Root: w.root})), pid)
	if p.Root != "" || len(p.Images) != 1 || p.Images[0].Version != "1" || p.Images[0].BuildID != id1 {
		t.Errorf("%+v", p)
	}
}

// A service whose program file is a mount of its own (ExecPaths= makes one):
// when the file is replaced, the process's name for it is "/".
func TestReplacedFileThatIsAMountOfItsOwnKeepsItsName(t *testing.T) {
	testkit.Need(t, os.Geteuid() == 0, "root (for a mount namespace)")
	v1, id1 := compile(t, 0x11)
	v2, id2 := compile(t, 0x22)
	w := newWorld(t)
	w.install("1", v1)
	pid := start(t, "/bin/sh", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
		"-c", `mount --make-rprivate / && mount --bind "$0" "$0" && exec "$0"`, w.name)
	w.install("2", v2)
	s := scan.New(scan.Options{Root: w.root, Managed: []string{"victim"}, Known: func(id string) (scan.Origin, bool) {
		return scan.Origin{Package: "victim", Version: "1", Path: w.name}, id == id1
	}})
	want := scan.Loaded{Path: w.name, BuildID: id1, Package: "victim", Version: "1", Disk: "2", Next: id2, Deleted: true}
	if p := process(t, take(t, s), pid); p.Root != "" || p.Exe != want.Path || len(p.Images) != 1 || p.Images[0] != want {
		t.Errorf("%+v, want %+v", p, want)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	database(t, w.root, "1", w.name)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	if _, err := scan.New(scan.Options{Root: w.root}).Scan(ctx); err == nil || err.Error() != "scan: enough" {
		t.Errorf("%v", err)
	}
}
