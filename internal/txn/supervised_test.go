package txn_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

func TestCallThatASupervisorMakesIsNotMadeTwice(t *testing.T) {
	base, fixed := compile(t, "supervised", "-DSHORT")
	for _, c := range []struct {
		how  txn.How
		call string
	}{{txn.Stopped, "getppid"}, {txn.Exchanged, "getppid"}, {txn.Stopped, "sendto"}} { // that may also have moved a part of its data
		how := c.how
		t.Run(string(how)+" "+c.call, func(t *testing.T) {
			b, o := byHand(t, base, fixed, "fixed_function"), txn.Options{Wait: 300 * time.Millisecond}
			if how == txn.Exchanged {
				b, o = independent(t, b), txn.Exchanging(o)
			}
			v := start(t, base, c.call)
			if where, err := os.ReadFile("/proc/" + itoa(v.pid) + "/wchan"); err != nil || !bytes.HasPrefix(where, []byte("seccomp_")) {
				testkit.Skip(t, "the kernel does not tell where a thread sleeps")
			}
			// An exchange stops nobody, and borrows another.
			switch r := txn.Apply(context.Background(), v.pid, b, o); {
			case how == txn.Stopped && (r.Outcome != txn.Busy || !strings.Contains(r.Reason, "supervisor")),
				how == txn.Exchanged && (r.Outcome != txn.Applied || r.How != how):
				t.Errorf("%+v", r)
			}
			v.want("c", "taken 1 returned 0")
			v.want("a", "answered")
			v.want("c", "taken 1 returned 42")
			if how == txn.Stopped {
				apply(t, v, b, txn.Applied)
			}
			v.want("q", "1001")
			v.running()
		})
	}
}
