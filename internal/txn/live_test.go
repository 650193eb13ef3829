package txn_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

func itoa(n int) string { return strconv.Itoa(n) }

// patience is how long a transaction that must succeed may try: on a host with
// much more work than processors it meets threads where they cannot be judged
// again and again.
const patience = 10 * time.Second

func apply(t testing.TB, v *victim, b *patch.Bundle, want txn.Outcome) txn.Result {
	t.Helper()
	r := txn.Apply(context.Background(), v.pid, b, txn.Exchanging(txn.Options{Wait: patience}))
	if r.Outcome != want {
		t.Fatalf("apply: %s (%s), not %s", r.Outcome, r.Reason, want)
	}
	return r
}

func revert(t testing.TB, v *victim, b *patch.Bundle, want txn.Outcome) txn.Result {
	t.Helper()
	r := txn.Revert(context.Background(), v.pid, id(t, b), txn.Options{Wait: patience})
	if r.Outcome != want {
		t.Fatalf("revert: %s (%s), not %s", r.Outcome, r.Reason, want)
	}
	return r
}

// busyWith applies or reverts for a short time and fails unless the process is
// busy for the reason given. On a host with much more work than processors a
// thread may not even stop in that time, or be borrowed; that is another reason, and one to
// try again.
func busyWith(t testing.TB, reason string, do func(txn.Options) txn.Result, o txn.Options) txn.Result {
	t.Helper()
	if o.Wait == 0 {
		o.Wait = 100 * time.Millisecond
	}
	var r txn.Result
	for range 20 {
		if r = do(o); r.Outcome == txn.Busy && strings.Contains(r.Reason, reason) {
			return r
		}
		late := false // not what is asked for, but a busy host
		for _, s := range []string{"did not stop in time", "gets no processor", "no thread could be borrowed"} {
			late = late || strings.Contains(r.Reason, s)
		}
		if r.Outcome != txn.Busy || !late {
			break
		}
	}
	t.Fatalf("%+v is not busy because of %q", r, reason)
	return r
}

// applying and reverting are what busyWith does.
func applying(v *victim, b *patch.Bundle) func(txn.Options) txn.Result {
	return func(o txn.Options) txn.Result { return txn.Apply(context.Background(), v.pid, b, o) }
}

func reverting(t testing.TB, v *victim, b *patch.Bundle) func(txn.Options) txn.Result {
	return func(o txn.Options) txn.Result { return txn.Revert(context.Background(), v.pid, id(t, b), o) }
}

func id(t testing.TB, b *patch.Bundle) patch.ID {
	t.Helper()
	id, err := b.ID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// states is what the process carries: asked of it alone, and in a listing of all.
func states(t testing.TB, v *victim) ([]txn.State, error) {
	t.Helper()
	ss, err := txn.Status(v.pid)
	listed, lerr := txn.Listed(v.pid)
	if diff := cmp.Diff(ss, listed, cmpopts.EquateEmpty()); diff != "" || (err == nil) != (lerr == nil) {
		t.Errorf("alone and in a listing (%v, %v): %s", err, lerr, diff)
	}
	return ss, err
}

func state(t testing.TB, v *victim) string {
	t.Helper()
	ss, err := states(t, v)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range ss {
		out = append(out, s.State)
	}
	return strings.Join(out, " ")
}

func TestApplyRevertAndApplyAgain(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	v.want("q", "2")
	for range 3 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		if s := state(t, v); s != txn.InForce {
			t.Fatalf("status: %q", s)
		}
		apply(t, v, b, txn.Already)
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
		if s := state(t, v); s != "" {
			t.Fatalf("status after revert: %q", s)
		}
		revert(t, v, b, txn.Already)
	}
	v.running()
	if n := executableAnonymous(t, v.pid); n != 1 {
		t.Errorf("%d tagged mappings after three rounds, not one", n)
	}
}

func executableAnonymous(t testing.TB, pid int) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) == 5 && f[1] == "r-xp" && f[4] == "0" {
			n++
		}
		if len(f) > 1 && strings.Contains(f[1], "wx") {
			t.Errorf("writable and executable: %s", l)
		}
	}
	return n
}

func TestApplyIsNotNoticedBySleepingThreads(t *testing.T) {
	base, fixed := compile(t, "blocked")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	for range 20 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	v.want("c", "spurious=0 early=0 woken=0 last=nobody")
	v.want("w", "1")
	v.want("c", "spurious=0 early=0 woken=1 last=nobody")
	v.running()
}

func TestApplyUnderStormsOfSignalsThreadsAndForks(t *testing.T) {
	base, fixed := compile(t, "storm")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	for range 15 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		revert(t, v, b, txn.Reverted)
		v.want("q", "2")
	}
	for range 100 { // a busy host lets little of it happen in this time
		if v.ask("a") == "1" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	v.want("a", "1")
	v.want("c", "order=0 corrupt=0")
	v.want("e", "lost=0")
}

func TestApplyToConfinedProcesses(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	for _, how := range []string{"zombie-leader", "mdwe", "ignore-trap", "vfork", "seccomp-kill", "seccomp-errno", "undumpable", "systemd"} {
		t.Run(how, func(t *testing.T) {
			if strings.HasPrefix(how, "seccomp") || how == "undumpable" || how == "systemd" {
				needRoot(t)
			}
			v := start(t, base, how)
			v.want("q", "2")
			r := txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: 5 * time.Second})
			if r.Outcome != txn.Applied {
				t.Fatalf("apply: %s (%s)", r.Outcome, r.Reason)
			}
			v.want("q", "1001")
			revert(t, v, b, txn.Reverted)
			v.want("q", "2")
		})
	}
	wide, wideFixed := compile(t, "confined", "-DWIDE")
	w := independent(t, byHand(t, wide, wideFixed, "fixed_function"))
	for how, want := range map[string]txn.How{
		"zombie-leader": txn.Exchanged, "mdwe": txn.Exchanged, "ignore-trap": txn.Exchanged, "vfork": txn.Exchanged,
		"seccomp-kill": txn.Stopped, "seccomp-errno": txn.Stopped, "undumpable": txn.Exchanged, "systemd": txn.Stopped,
	} {
		t.Run(how+", independent", func(t *testing.T) {
			if os.Geteuid() != 0 && (want == txn.Stopped || how == "undumpable") {
				needRoot(t)
			}
			v := start(t, wide, how)
			r := apply(t, v, w, txn.Applied)
			for try := 0; r.How != want && want == txn.Exchanged && try < 3; try++ { // a busy host
				revert(t, v, w, txn.Reverted)
				r = apply(t, v, w, txn.Applied)
			}
			if r.How != want {
				t.Errorf("%+v", r)
			}
			v.want("q", "1001")
			revert(t, v, w, txn.Reverted)
			v.want("q", "2")
		})
	}
	t.Run("as-limit", func(t *testing.T) {
		v := start(t, base, "as-limit")
		r := apply(t, v, b, txn.Denied)
		if !strings.Contains(r.Reason, "RLIMIT_AS") {
			t.Errorf("reason %q does not name the limit", r.Reason)
		}
		v.want("q", "2")
		v.running()
	})
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_PTRACE and CAP_SYS_ADMIN")
	}
}

func TestApplyToStoppedProcessLeavesItStopped(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	if err := syscall.Kill(v.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitState(t, v, 'T')
	apply(t, v, b, txn.Applied)
	waitState(t, v, 'T')
	time.Sleep(20 * time.Millisecond)
	waitState(t, v, 'T')
	if err := syscall.Kill(v.pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	v.want("q", "1001")
}

func waitState(t testing.TB, v *victim, want byte) {
	t.Helper()
	for range 100 {
		if v.state() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("victim is in state %c, not %c", v.state(), want)
}

func TestForkedChildInheritsThePatch(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	v.want("f", "2")
	apply(t, v, b, txn.Applied)
	v.want("f", "1001")
	revert(t, v, b, txn.Reverted)
	v.want("f", "2")
}

func TestApplyRefusesWhatIsNotThere(t *testing.T) {
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base)
	ctx := context.Background()

	if r := txn.Apply(ctx, os.Getpid(), b, txn.Options{}); r.Outcome != txn.Denied || !strings.Contains(r.Reason, "itself") {
		t.Errorf("ourselves: %+v", r)
	}
	if r := txn.Apply(ctx, 2, b, txn.Options{}); r.Outcome != txn.Denied || !strings.Contains(r.Reason, "kernel thread") {
		t.Errorf("kernel thread: %+v", r)
	}
	dead := start(t, base)
	dead.kill()
	if r := txn.Apply(ctx, dead.pid, b, txn.Options{}); r.Outcome != txn.Died {
		t.Errorf("dead pid: %+v", r)
	}
	other := start(t, fixed)
	if r := txn.Apply(ctx, other.pid, b, txn.Options{}); r.Outcome != txn.Skipped || !strings.Contains(r.Reason, "fixed image already") {
		t.Errorf("fixed image: %+v", r)
	}
	wrong := byHand(t, base, fixed, "fixed_function")
	wrong.Manifest.Images[0].Sites[0].PreImage = strings.Repeat("0", 64)
	if r := txn.Apply(ctx, v.pid, wrong, txn.Options{}); r.Outcome != txn.Denied || !strings.Contains(r.Reason, "fixed_function") {
		t.Errorf("other code in memory: %+v", r)
	}
	review := byHand(t, base, fixed, "fixed_function")
	review.Manifest.Verdict = patch.Review
	if r := txn.Apply(ctx, v.pid, review, txn.Options{}); r.Outcome != txn.Denied {
		t.Errorf("not accepted: %+v", r)
	}
	v.want("q", "2")
	v.running()
	if n := executableAnonymous(t, v.pid); n != 0 {
		t.Errorf("%d mappings left behind by refusals", n)
	}
}
