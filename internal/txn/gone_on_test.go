package txn_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
)

// Sleeps under filters that say something to restart_syscall. The stops here are those
// of an attempt to patch, without the rest of it.

// stopOnce stops a victim once, first the threads that sleep. meanwhile, if not nil,
// is called while those stand.
func stopOnce(t *testing.T, v *victim, privileged bool, meanwhile func(sleepers []int)) {
	t.Helper()
	err := ptrace.Run(func(tr *ptrace.Tracer) error {
		if !privileged {
			without(t, unix.CAP_SYS_ADMIN) // from a thread that ends
		}
		g, err := tr.Seize(func() ([]int, error) { return proc.Threads(v.pid) })
		defer g.Release()
		if err != nil {
			return err
		}
		if meanwhile != nil {
			tids, err := proc.Threads(v.pid)
			if err != nil {
				return err
			}
			var asleep []int
			for _, tid := range tids {
				if s, err := proc.ThreadState(v.pid, tid); err == nil && s == 'S' {
					asleep = append(asleep, tid)
				}
			}
			if _, err := g.StopSome(asleep, time.Now().Add(time.Second)); err != nil {
				return err
			}
			meanwhile(asleep)
		}
		_, err = g.StopAll(time.Now().Add(time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sleeps asks a victim how its threads have slept.
func sleeps(v *victim) (slept, failed, early int) {
	v.t.Helper()
	a := v.ask("c")
	if _, err := fmt.Sscanf(a, "slept=%d failed=%d early=%d", &slept, &failed, &early); err != nil {
		v.t.Fatalf("%q: %v", a, err)
	}
	return slept, failed, early
}

// untilSlept waits until every thread has slept so often, and calls between again and
// again; no sleep may fail or be short.
func untilSlept(v *victim, often int, between func()) {
	v.t.Helper()
	for begin := time.Now(); ; {
		slept, failed, early := sleeps(v)
		switch {
		case failed > 0 || early > 0:
			v.t.Fatalf("%d sleeps failed, %d were short", failed, early)
		case slept >= often:
			v.running()
			return
		case time.Since(begin) > 20*time.Second:
			v.t.Fatalf("after %v a thread has slept only %d times", time.Since(begin), slept)
		}
		between()
	}
}

func TestSleepsEndInTimeUnderFiltersThatLetThemGoOn(t *testing.T) {
	needRoot(t)
	base, _ := compile(t, "gone_on")
	for _, filters := range []string{"", "allow", "log", "allow log allow", "here", "marked", "1allow", "allow here marked"} {
		t.Run(filters, func(t *testing.T) {
			t.Parallel()
			v := start(t, base, append([]string{"400", "-"}, strings.Fields(filters)...)...)
			untilSlept(v, 2, func() {
				stopOnce(t, v, true, nil)
				time.Sleep(20 * time.Millisecond)
			})
		})
	}
}

// TestSleepsUnderFiltersThatDoNotLetThemGoOn are made anew: nothing else happens to
// the threads.
func TestSleepsUnderFiltersThatDoNotLetThemGoOn(t *testing.T) {
	needRoot(t)
	base, _ := compile(t, "gone_on")
	for _, filters := range []string{
		"kill", "errno", "trap", "trace", "notify", "allow kill", "kill allow", "elsewhere", "unmarked", "1kill", "allow 1errno",
		"notify trace", "here errno",
	} {
		t.Run(filters, func(t *testing.T) {
			t.Parallel()
			v := start(t, base, append([]string{"300", "-"}, strings.Fields(filters)...)...)
			for range 20 {
				stopOnce(t, v, true, nil)
			}
			untilSlept(v, 1, func() { time.Sleep(50 * time.Millisecond) })
		})
	}
}

// TestFiltersThatCannotBeReadAreNotTrusted: to read them is for the privileged, and
// there may be too many.
func TestFiltersThatCannotBeReadAreNotTrusted(t *testing.T) {
	needRoot(t)
	base, _ := compile(t, "gone_on")
	for _, tc := range []struct {
		filters    string
		privileged bool
	}{{"", false}, {"allow", false}, {"kill", false}, {"errno", false}, {"many", true}} {
		t.Run(tc.filters, func(t *testing.T) {
			t.Parallel()
			v := start(t, base, append([]string{"500", "-"}, strings.Fields(tc.filters)...)...)
			for range 20 {
				stopOnce(t, v, tc.privileged, nil)
			}
			time.Sleep(20 * time.Millisecond)
			if n := goneOn(v); n > 0 && tc.filters != "" {
				t.Errorf("%d sleeps were gone on with", n)
			}
			untilSlept(v, 1, func() { time.Sleep(50 * time.Millisecond) })
		})
	}
}

// goneOn is the number of threads that the kernel has gone on with.
func goneOn(v *victim) (n int) {
	v.t.Helper()
	tids, err := proc.Threads(v.pid)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, tid := range tids {
		if s, err := proc.ReadSyscall(v.pid, tid); err == nil && !s.Running && s.Number == unix.SYS_RESTART_SYSCALL {
			n++
		}
	}
	return n
}

// TestFiltersThatComeWhenASleepWasGoneOnWith: for all threads, while they stand or in
// between. A thread that would be killed sees EINTR; else none notices.
func TestFiltersThatComeWhenASleepWasGoneOnWith(t *testing.T) {
	needRoot(t)
	base, _ := compile(t, "gone_on")
	for _, tc := range []struct {
		name, filters string
		goneOn        bool // the sleeps were gone on with before
		standing      bool // the filter comes while they stand
		unprivileged  bool
		failed        int
	}{
		{"kills", "later kill", true, false, false, 3},
		{"kills, while they stand", "later kill", true, true, false, 3},
		{"kills, after one that does not", "allow later kill", true, true, false, 3},
		{"kills, while others stand", "later kill", false, true, false, 0},
		{"kills, while others stand, unseen", "later kill", false, true, true, 0},
		{"kills, while they stand, unseen", "later kill", true, true, true, 3},
		{"allows", "later allow", true, false, false, 0},
		{"allows, while they stand", "later allow", true, true, false, 0},
		{"allows, after another", "here later allow marked", true, true, false, 0},
		{"allows, while others stand", "later log", false, true, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "now")
			v := start(t, base, append([]string{"3600000", file}, strings.Fields(tc.filters)...)...)
			for i := 0; tc.goneOn && goneOn(v) < 3; i++ {
				if i > 50 {
					t.Fatalf("%d sleeps were gone on with", goneOn(v))
				}
				stopOnce(t, v, true, nil)
				time.Sleep(20 * time.Millisecond)
			}
			before := filters(t, v.pid)
			comes := func([]int) {
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Error(err)
				}
				for range 2000 {
					if filters(t, v.pid) >= before+strings.Count(tc.filters[strings.Index(tc.filters, "later"):], " ") {
						return
					}
					time.Sleep(time.Millisecond)
				}
				t.Error("no filter came")
			}
			if tc.standing {
				stopOnce(t, v, !tc.unprivileged, comes)
			} else {
				comes(nil)
			}
			for range 3 {
				stopOnce(t, v, true, nil)
				time.Sleep(20 * time.Millisecond)
			}
			if _, failed, early := sleeps(v); failed != tc.failed || early > 0 {
				t.Errorf("%d sleeps failed, not %d; %d were short", failed, tc.failed, early)
			}
			v.running()
		})
	}
}

// filters is how many seccomp filters a thread has.
func filters(t *testing.T, tid int) (n int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	_, of, _ := strings.Cut(string(b), "Seccomp_filters:")
	if _, err := fmt.Sscan(of, &n); err != nil {
		t.Fatalf("%v in %q", err, of)
	}
	return n
}

// TestSleepsThatASupervisorLetGoOn: nobody can tell what it would say next time, but
// those threads have got past it.
func TestSleepsThatASupervisorLetGoOn(t *testing.T) {
	needRoot(t)
	base, _ := compile(t, "gone_on")
	v := start(t, base, "3000", "-", "notify")
	for i := 0; goneOn(v) < 3; i++ {
		if i%20 == 0 { // a thread may not have slept yet
			stopAndContinue(t, v)
		}
		if i > 200 {
			t.Fatalf("the supervisor let %d sleeps go on, and was asked %s times", goneOn(v), v.ask("a"))
		}
		time.Sleep(10 * time.Millisecond)
	}
	stopOnce(t, v, true, nil)
	untilSlept(v, 1, func() { time.Sleep(50 * time.Millisecond) })
}
