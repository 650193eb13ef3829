package txn_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

func TestStackWhoseMappingIsSplitIsReadToItsEnd(t *testing.T) {
	base, fixed := compile(t, "moving", "-g")
	b := built(t, base, fixed)
	v := start(t, base, "split")
	busyWith(t, "outer", applying(v, b), txn.Options{})
	v.want("g", "gone")
	apply(t, v, b, txn.Applied)
	v.want("o", "1001")
}

func TestThreadWithASeccompFilterOfItsOwnIsNotHarmed(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "filtered-thread")
	for range 3 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
}

// TestThreadWithoutAFilterIsBorrowedFirst, even one that runs: a filter that
// kills would end the process if the tool died meanwhile.
func TestThreadWithoutAFilterIsBorrowedFirst(t *testing.T) {
	base, _ := compile(t, "moving")
	v := start(t, base, "filtered-main")
	tids, err := txn.Borrowable(v.pid)
	if err != nil || len(tids) != 2 || tids[0] == v.pid || tids[1] != v.pid {
		t.Errorf("order %v of process %d, %v", tids, v.pid, err)
	}
}

func TestProcessThatMapsCodeAllTheTime(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "jit")
	for range 20 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		if s := state(t, v); s != txn.InForce {
			t.Fatalf("status %q", s)
		}
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
}

func TestVforkChildIsNotPatchedForItsParent(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "vfork")
	tried := 0
	for range 200 {
		for _, child := range childrenOf(t, v.pid) {
			r := txn.Apply(context.Background(), child, b, txn.Options{Wait: 20 * time.Millisecond})
			if r.Outcome == txn.Applied {
				t.Fatalf("child %d: %+v", child, r)
			}
			tried++
		}
		if tried > 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if tried == 0 {
		t.Fatal("no child was caught")
	}
	v.want("q", "2")
}

func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	dirs, err := os.ReadDir("/proc/" + itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		b, _ := os.ReadFile("/proc/" + itoa(pid) + "/task/" + d.Name() + "/children")
		for _, f := range strings.Fields(string(b)) {
			n := 0
			for _, c := range f {
				n = n*10 + int(c-'0')
			}
			pids = append(pids, n)
		}
	}
	return pids
}

func TestTwoToolsTakeTurns(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	for range 10 {
		v := start(t, base)
		var wg sync.WaitGroup
		var got [4]txn.Result
		for i := range got {
			wg.Add(1)
			go func() {
				defer wg.Done()
				got[i] = txn.Apply(context.Background(), v.pid, b, txn.Options{})
			}()
		}
		wg.Wait()
		applied := 0
		for _, r := range got {
			switch r.Outcome {
			case txn.Applied:
				applied++
			case txn.Already:
			default:
				t.Errorf("%+v", r)
			}
		}
		if applied != 1 {
			t.Errorf("%d of %d tools applied it: %+v", applied, len(got), got)
		}
		v.want("q", "1001")
		if n := executableAnonymous(t, v.pid); n != 1 {
			t.Errorf("%d mappings", n)
		}
		v.kill()
	}
}

func TestProcessThatStartsAnotherProgramMeanwhile(t *testing.T) {
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "exec", "400")
	for range 20 {
		r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 500 * time.Millisecond})
		switch r.Outcome {
		case txn.Applied, txn.Already: // and lost with the next program
		case txn.Failed, txn.Skipped, txn.Busy:
		default:
			t.Fatalf("%+v", r)
		}
	}
	if l := v.line(); l != "settled" {
		t.Fatalf("victim says %q", l)
	}
	if r := txn.Apply(context.Background(), v.pid, b, txn.Options{}); r.Outcome != txn.Applied && r.Outcome != txn.Already {
		t.Fatalf("%+v", r)
	}
	v.want("q", "1001")
	v.running()
}

// TestLibraryUnloadedBetweenAttempts: what is mapped there afterwards, a file
// that others share even, is not written to.
func TestLibraryUnloadedBetweenAttempts(t *testing.T) {
	lib, libFixed := compile(t, "libanswer", "-shared", "-fPIC")
	base, _ := compile(t, "uselib")
	b := byHand(t, lib, libFixed, "answer_of")
	v := start(t, base, lib)
	v.want("l", "loaded")
	done := false
	o := txn.WithStep(txn.Options{Wait: patience}, func(point string) {
		if point == "journal-written" && !done {
			done = true
			v.want("u", "unloaded")
			v.want("m", "mapped") // a file, shared, where the library was
		}
	})
	r := txn.Apply(context.Background(), v.pid, b, o)
	if !done || r.Outcome == txn.Applied {
		t.Fatalf("%+v", r)
	}
	v.want("i", "intact")
	v.running()
}

func TestProgramWithCoroutinesIsRefused(t *testing.T) {
	base, fixed := compile(t, "coroutine", "-g")
	v := start(t, base)
	r := apply(t, v, built(t, base, fixed), txn.Denied)
	if !strings.Contains(r.Reason, "swapcontext") {
		t.Errorf("reason %q", r.Reason)
	}
	v.want("q", "2")
	v.running()
}

// TestLibraryThatMayBeUnloadedIsNotTouchedBeforeTheStop: by the time of a write it may
// be gone, and something else be mapped there.
func TestLibraryThatMayBeUnloadedIsNotTouchedBeforeTheStop(t *testing.T) {
	program, _ := compile(t, "uselib", "-ldl")
	lib, libFixed := compile(t, "libanswer", "-shared", "-fPIC")
	b := byHand(t, lib, libFixed, "answer_of")
	v := start(t, program, lib)
	v.want("l", "loaded")
	own := func() (kb int) {
		t.Helper()
		text, err := os.ReadFile("/proc/" + itoa(v.pid) + "/smaps")
		if err != nil {
			t.Fatal(err)
		}
		in := false
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if strings.Contains(f[0], "-") {
				in = f[1] == "r-xp" && strings.Contains(line, "libanswer")
			}
			if in && f[0] == "Anonymous:" {
				n, _ := strconv.Atoi(f[1])
				kb += n
			}
		}
		return kb
	}
	before := -1
	r := txn.Apply(context.Background(), v.pid, b, txn.WithStep(txn.Options{Wait: patience}, func(point string) {
		if point == "seized" {
			before = own()
		}
	}))
	if r.Outcome != txn.Applied || before != 0 || own() == 0 {
		t.Errorf("%d KiB written before the stop, %d with it: %+v", before, own(), r)
	}
	v.want("q", "2 1001")
	v.running()
}

func TestProgramWithGreenletsIsRefused(t *testing.T) {
	base, fixed := compile(t, "uselib", "-ldl")
	lib := compileAs(t, "libanswer", "_greenlet.cpython-311-x86_64-linux-gnu.so", "-shared", "-fPIC")
	v := start(t, base, lib)
	v.want("l", "loaded")
	r := apply(t, v, byHand(t, base, fixed, "fixed_function"), txn.Denied)
	if !strings.Contains(r.Reason, "_greenlet") {
		t.Errorf("reason %q", r.Reason)
	}
	v.running()
}

// TestRoomThatIsTakenMeanwhileIsLeftAlone: the read-execute part fits, what
// the read-write part would cover is the program's own and stays.
func TestRoomThatIsTakenMeanwhileIsLeftAlone(t *testing.T) {
	base, _ := compile(t, "confined")
	v := start(t, base)
	maps, err := proc.Maps(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	first := maps[0] // the program itself; below it there is nothing
	if err := txn.MapRegion(v.pid, first.Start-4096, 4096, first.End-first.Start); err == nil {
		t.Fatal("mapped over the program")
	}
	after, err := proc.Maps(v.pid)
	if err != nil || len(after) != len(maps) || after[0] != first {
		t.Errorf("mappings changed (%v):\n%v\n%v", err, maps, after)
	}
	v.want("q", "2")
	v.running()
}

// filterComes has a latecomer install its filter.
func filterComes(t *testing.T, v *victim) {
	t.Helper()
	if err := unix.Kill(v.pid, unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	for range 1000 {
		if is, err := proc.ReadRights(v.pid, v.pid); err != nil || is.Seccomp != 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("no filter came")
}

// TestFilterThatComesBetweenTwoCallsOfALoan: a filter that kills on the second
// call, while a thread stands by for that which is not permitted to pass filters.
func TestFilterThatComesBetweenTwoCallsOfALoan(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "moving", "-DWIDE")
	b := independent(t, byHand(t, base, fixed, "fixed_function"))
	v := start(t, base, "latecomer", itoa(unix.SYS_MREMAP))
	came := false
	o := txn.WithStep(txn.Exchanging(txn.Options{Wait: patience}), func(point string) {
		switch {
		case point == "given-back": // on the tracer's thread, which ends with the transaction
			without(t, unix.CAP_SYS_ADMIN)
		case point == "copy-verified" && !came:
			came = true
			filterComes(t, v)
		}
	})
	if r := txn.Apply(context.Background(), v.pid, b, o); r.Outcome != txn.Applied || r.How != txn.Stopped || !came {
		t.Errorf("%+v", r)
	}
	v.want("q", "1001")
	v.running()
}

// without takes a capability from this OS thread.
func without(t *testing.T, capability int) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Error(err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&head, &data[0]); err != nil {
		t.Error(err)
	}
}

// TestFilterThatComesDuringALoan: another thread installs a seccomp filter for
// all threads, which kills on the very call that the borrowed one is to make.
func TestFilterThatComesDuringALoan(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "moving")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, "latecomer")
	came := false
	o := txn.WithStep(txn.Options{}, func(point string) {
		if point != "registers-set" || came {
			return
		}
		came = true
		filterComes(t, v)
	})
	if r := txn.Apply(context.Background(), v.pid, b, o); r.Outcome != txn.Applied || !came {
		t.Errorf("%+v", r)
	}
	v.want("q", "1001")
}
