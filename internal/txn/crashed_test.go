package txn_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestProcessThatDumpsCoreIsLeftAlone: a thread that is asked to stop while it
// writes the dump into a pipe, as to systemd-coredump, ends it there.
func TestProcessThatDumpsCoreIsLeftAlone(t *testing.T) {
	base, fixed := compile(t, "crashing")
	b := byHand(t, base, fixed, "fixed_function")
	for name, do := range map[string]func(v *victim) txn.Result{
		"apply": func(v *victim) txn.Result {
			return txn.Apply(context.Background(), v.pid, b, txn.Options{Wait: time.Second})
		},
		"revert": func(v *victim) txn.Result {
			return txn.Revert(context.Background(), v.pid, id(t, b), txn.Options{Wait: time.Second})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir()) // for the dump, where it is a file
			v := start(t, base)
			if name == "revert" {
				apply(t, v, b, txn.Applied)
			}
			v.want("x", "now")
			awaitDump(t, v)
			leftToItsDump(t, do(v))
		})
	}
}

// TestProcessThatCrashesInTheMiddleDumpsCoreUndisturbed: all of its threads were
// looked at by then.
func TestProcessThatCrashesInTheMiddleDumpsCoreUndisturbed(t *testing.T) {
	base, fixed := compile(t, "crashing")
	b := byHand(t, base, fixed, "fixed_function")
	for _, at := range []string{"planned", "region-filled"} { // before a loan, and before the stop
		t.Run(at, func(t *testing.T) {
			t.Chdir(t.TempDir())
			v := start(t, base)
			crashed := false
			r := txn.Apply(context.Background(), v.pid, b, txn.WithStep(txn.Options{Wait: time.Second}, func(point string) {
				if point == at && !crashed {
					crashed = true
					v.want("x", "now")
					awaitDump(t, v)
				}
			}))
			leftToItsDump(t, r)
		})
	}
}

func leftToItsDump(t *testing.T, r txn.Result) {
	t.Helper()
	if r.Outcome != txn.Died || !strings.Contains(r.Reason, "core dump") {
		t.Errorf("%+v", r)
	}
}

func dumps(v *victim) bool {
	b, err := os.ReadFile("/proc/" + itoa(v.pid) + "/status")
	return err == nil && strings.Contains(string(b), "CoreDumping:\t1")
}

func awaitDump(t *testing.T, v *victim) {
	t.Helper()
	for begin := time.Now(); !dumps(v); {
		if v.state() == 0 || v.state() == 'Z' || time.Since(begin) > 10*time.Second {
			testkit.Skip(t, "processes of this host dump no core")
		}
		time.Sleep(100 * time.Microsecond)
	}
}
