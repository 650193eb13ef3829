package txn_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"hotpatch/internal/proc"
	"hotpatch/internal/ptrace"
	"hotpatch/internal/txn"
)

func objections(t *testing.T, pid int) map[txn.About]txn.Objection {
	t.Helper()
	l, err := txn.Examine(pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[txn.About]txn.Objection{}
	for _, o := range l.Objections {
		all[o.About] = o
	}
	return all
}

func TestExamineFindsNothingAgainstAnOrdinaryProcess(t *testing.T) {
	base, fixed := compile(t, "confined")
	v := start(t, base)
	l, err := txn.Examine(v.pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Objections) != 0 || l.Info.PID != v.pid || len(l.Modules) < 2 || len(l.Carried) != 0 {
		t.Errorf("%+v", l)
	}
	apply(t, v, byHand(t, base, fixed, "fixed_function"), txn.Applied)
	if l, err = txn.Examine(v.pid, nil); err != nil || len(l.Carried) != 1 || len(l.Objections) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestExamineObjectsAsApplyDoes(t *testing.T) {
	base, _ := compile(t, "confined")
	t.Run("ourselves", func(t *testing.T) {
		if o := objections(t, os.Getpid())[txn.OfAccess]; o.Outcome != txn.Denied || !strings.Contains(o.Reason, "hotpatch itself") {
			t.Errorf("%+v", o)
		}
	})
	t.Run("no process", func(t *testing.T) {
		if o := objections(t, 999999999)[txn.OfAccess]; o.Outcome != txn.Died {
			t.Errorf("%+v", o)
		}
	})
	t.Run("our child", func(t *testing.T) {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		if o := objections(t, cmd.Process.Pid)[txn.OfAccess]; o.Outcome != txn.Denied || !strings.Contains(o.Reason, "child") {
			t.Errorf("%+v", o)
		}
	})
	t.Run("traced", func(t *testing.T) {
		v := start(t, base)
		err := ptrace.Run(func(tr *ptrace.Tracer) error {
			g, err := tr.Seize(func() ([]int, error) { return proc.Threads(v.pid) })
			defer g.Release()
			if o := objections(t, v.pid)[txn.OfTracer]; o.Outcome != txn.Denied || !strings.Contains(o.Reason, "is being traced by") {
				t.Errorf("%+v", o)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		v.running()
	})
	t.Run("coroutines", func(t *testing.T) {
		path, _ := compile(t, "coroutine")
		if o := objections(t, start(t, path).pid)[txn.OfStacks]; o.Outcome != txn.Denied || !strings.Contains(o.Reason, "swapcontext") {
			t.Errorf("%+v", o)
		}
	})
}
