package txn_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// Processes of others may be made to mislead, or to wear out, who looks at them.

// What is learnt of one program is not used for another that gives itself the
// same build-id: here, where padding is.
func TestImageOfTheSameBuildIDIsNotTakenForAnother(t *testing.T) {
	const id = "-Wl,--build-id=0x1122334455667788990011223344556677889900"
	program := compileAs(t, "namesake", "namesake", id)
	fake := compileAs(t, "namesake", "namesake.fake", id, "-DFAKE")
	fixed := compileAs(t, "namesake", "namesake.fixed", "-DFIXED")
	b := independent(t, byHand(t, program, fixed, "fixed_function"))
	f := independent(t, byHand(t, fake, fixed, "fixed_function"))
	if p, q := b.Manifest.Images[0].Sites[0].Base, f.Manifest.Images[0].Sites[0].Base; p != q {
		t.Fatalf("the function is at %#x and at %#x", p, q)
	}
	o := txn.Exchanging(txn.Options{Tables: &txn.Tables{}, Wait: 10 * time.Second})
	first, second := start(t, fake), start(t, program)
	if r := txn.Apply(context.Background(), first.pid, b, o); r.Outcome != txn.Applied || r.How != txn.Exchanged {
		t.Fatalf("%+v", r)
	}
	first.want("q", "1001")
	if r := txn.Apply(context.Background(), second.pid, b, o); r.Outcome != txn.Applied || r.How != txn.Stopped {
		t.Fatalf("%+v", r)
	}
	second.want("q", "1001")
	second.want("b", "7")
	second.running()
}

func TestHugeImagesAreLeftAlone(t *testing.T) {
	base, fixed := compile(t, "hostile")
	b := byHand(t, base, fixed, "fixed_function")
	for mode, want := range map[string]string{"sparse": "code", "vdso": "vdso"} {
		t.Run(mode, func(t *testing.T) {
			v := start(t, base, mode, filepath.Join(t.TempDir(), "sparse"))
			begin := time.Now()
			r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 300 * time.Millisecond})
			if r.Outcome == txn.Applied && mode == "vdso" { // no stack leads into it
				v.want("q", "1001")
				return
			}
			if r.Outcome != txn.Denied && r.Outcome != txn.Busy || !strings.Contains(r.Reason, want) && mode == "sparse" {
				t.Errorf("%+v", r)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			v.want("q", "2")
			v.running()
		})
	}
}

func TestJournalsWithoutEndAreNotBelieved(t *testing.T) {
	base, _ := compile(t, "hostile")
	v := start(t, base, "journals")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := txn.Status(v.pid)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "believed") {
		t.Errorf("error %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 500<<20 {
		t.Errorf("%d MiB were allocated for it", n>>20)
	}
	v.running()
}

// The lock on a process is no file that anybody may open; who holds it is told.
func TestOnlyWhoMayLookIntoAProcessCanLockIt(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	dir, err := os.Open("/proc/" + itoa(v.pid))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	apply(t, v, b, txn.Applied)
	revert(t, v, b, txn.Reverted)

	lock := "/proc/" + itoa(v.pid) + "/task/" + itoa(v.pid) + "/maps"
	f, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 100 * time.Millisecond})
	if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "process "+itoa(os.Getpid())+" (") {
		t.Errorf("%+v", r)
	}
	v.want("q", "2")

	testkit.Need(t, os.Geteuid() == 0, "root")
	other := exec.Command("head", "-c1", lock)
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := other.CombinedOutput(); err == nil {
		t.Errorf("another user opened the lock: %s", out)
	}
}
