package txn_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

// snapshot is all there is to a process that does nothing: mappings, the
// content of every readable one, and of each thread the registers and signals.
type snapshot map[string]string

func snap(t testing.TB, v *victim) snapshot {
	t.Helper()
	asleep(t, v)
	s := snapshot{}
	maps, err := proc.Maps(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := proc.OpenMem(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, m := range maps {
		if m.Path == "[vvar]" || m.Path == "[vvar_vclock]" || m.Path == "[vsyscall]" {
			continue // the kernel's clock, and what cannot be read
		}
		key := fmt.Sprintf("%x-%x %v%v%v %s", m.Start, m.End, m.Read, m.Write, m.Exec, m.Path)
		if !m.Read {
			s[key] = "unreadable"
			continue
		}
		b := make([]byte, m.End-m.Start)
		if _, err := mem.ReadAt(b, int64(m.Start)); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		s[key] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	err = ptrace.Run(func(tr *ptrace.Tracer) error {
		g, err := tr.Seize(func() ([]int, error) { return proc.Threads(v.pid) })
		defer g.Release()
		if err != nil {
			return err
		}
		threads, err := g.StopAll(time.Now().Add(time.Second))
		for _, th := range threads {
			s[fmt.Sprintf("registers of %d", th.TID)] = fmt.Sprintf("%+v %+v", th.Regs, th.Stop)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tids, err := proc.Threads(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, tid := range tids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", v.pid, tid))
		if err != nil {
			t.Fatal(err)
		}
		for l := range bytes.Lines(status) {
			if bytes.HasPrefix(l, []byte("SigPnd")) || bytes.HasPrefix(l, []byte("SigBlk")) || bytes.HasPrefix(l, []byte("ShdPnd")) || bytes.HasPrefix(l, []byte("TracerPid")) || bytes.HasPrefix(l, []byte("Seccomp:")) {
				s[fmt.Sprintf("%d %s", tid, l[:bytes.IndexByte(l, ':')])] = string(l)
			}
		}
	}
	return s
}

// asleep waits until every thread is back in the call it sleeps in: read,
// futex, epoll_wait, pause.
func asleep(t testing.TB, v *victim) {
	t.Helper()
	calls := map[int64]bool{unix.SYS_READ: true, unix.SYS_FUTEX: true, unix.SYS_EPOLL_WAIT: true, unix.SYS_PAUSE: true}
	for range 2000 {
		tids, err := proc.Threads(v.pid)
		if err != nil {
			t.Fatal(err)
		}
		all := len(tids) == 5
		for _, tid := range tids {
			s, err := proc.ReadSyscall(v.pid, tid)
			all = all && err == nil && !s.Running && calls[s.Number]
		}
		if all {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the victim does not come to rest")
}

// differs lists what two snapshots do not share.
func (s snapshot) differs(o snapshot) string {
	var out []string
	for k, v := range s {
		if w, ok := o[k]; !ok {
			out = append(out, "gone: "+k)
		} else if v != w {
			out = append(out, fmt.Sprintf("changed: %s\n\t%s\n\t%s", k, v, w))
		}
	}
	for k := range o {
		if _, ok := s[k]; !ok {
			out = append(out, "added: "+k)
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// failing lets the n-th point of a transaction fail, and remembers its name.
func failing(n int) (o txn.Options, hit *string) {
	hit = new(string)
	i := -1
	return txn.WithFail(txn.Exchanging(txn.Options{Wait: time.Second}), func(point string) error {
		if i++; i == n {
			*hit = point
			return errors.New("injected")
		}
		return nil
	}), hit
}

// tooLate are the points behind which the work is done: what fails there is
// only the proof of it.
var tooLate = map[string]bool{"applied": true, "reverted": true, "syscall-stop": true}

// TestFailureAtEveryPointLeavesMemoryAndRegistersAsTheyWere makes each point
// that a transaction passes fail, one after the other.
func TestFailureAtEveryPointLeavesMemoryAndRegistersAsTheyWere(t *testing.T) {
	base, fixed := compile(t, "quiet")
	b := byHand(t, base, fixed, "fixed_function", "second_function")
	const was, is = "2 3", "1001 2001"
	t.Setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0") // where the kernel notes each thread's processor
	seen := map[string]bool{}
	// try makes one point after the other fail, until none is left. in prepares
	// a fresh victim: much happens only once in a process.
	try := func(verb string, in func() *victim, do func(*victim, txn.Options) txn.Result, answers string) {
		t.Helper()
		for n := 0; ; n++ {
			v := in()
			before := snap(t, v)
			o, hit := failing(n)
			r := do(v, o)
			if *hit == "" {
				if r.Outcome != txn.Applied && r.Outcome != txn.Reverted {
					t.Fatalf("%s without a failure: %+v", verb, r)
				}
				return
			}
			seen[verb+" "+*hit] = true
			if !tooLate[*hit] {
				if r.Outcome != txn.Failed || !strings.Contains(r.Reason, "injected") {
					t.Fatalf("%s, %s fails: %+v", verb, *hit, r)
				}
				if d := before.differs(snap(t, v)); d != "" {
					t.Errorf("%s, %s fails (point %d): not as before:\n%s", verb, *hit, n, d)
				}
				v.want("q", answers)
			}
			v.running()
			v.kill()
		}
	}
	fresh := func() *victim { return start(t, base) }
	patched := func() *victim { v := start(t, base); apply(t, v, b, txn.Applied); return v }
	points := []string{
		"apply planned", "apply borrowed", "apply stub-written", "apply registers-set", "apply signals-held", "apply calls-made", "apply given-back",
		"apply mapped", "apply journal-written", "apply region-filled", "apply seized", "apply sleepers-stopped", "apply stopped",
		"apply entry-written", "apply entries-verified", "revert seized", "revert stopped", "revert entry-written", "revert entries-verified",
	}
	missed := func(p string) bool { return !seen[p] }
	// Once as a rule: on a busy host there are now more attempts, now fewer, so
	// that the same number is now this point, now that one.
	for rounds := 0; rounds < 5 && slices.ContainsFunc(points, missed); rounds++ {
		try("apply", fresh, func(v *victim, o txn.Options) txn.Result {
			return txn.Apply(context.Background(), v.pid, b, o)
		}, was)
		try("revert", patched, func(v *victim, o txn.Options) txn.Result {
			return txn.Revert(context.Background(), v.pid, id(t, b), o)
		}, is)
	}
	for _, p := range points {
		if missed(p) {
			t.Errorf("%s was never reached", p)
		}
	}
}
