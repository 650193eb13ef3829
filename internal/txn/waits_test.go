package txn_test

import (
	"context"
	"strings"
	"testing"

	"hotpatch/internal/txn"
)

// TestWaitsOfEveryKindGoOn: in nothing that a thread can wait for does it notice.
func TestWaitsOfEveryKindGoOn(t *testing.T) {
	base, fixed := compile(t, "waits", "-lutil", "-lrt")
	b := byHand(t, base, fixed, "fixed_function")
	v := start(t, base, t.TempDir())
	ends := func() (waits []string) {
		for {
			w := v.ask("c")
			if strings.HasPrefix(w, "none of ") {
				return waits
			}
			waits = append(waits, w)
		}
	}
	for _, w := range ends() {
		t.Errorf("did not even begin: %s", w)
	}
	for range 5 {
		apply(t, v, b, txn.Applied)
		v.want("q", "1001")
		if r := txn.Revert(context.Background(), v.pid, id(t, b), txn.Options{Wait: patience}); r.Outcome != txn.Reverted {
			t.Fatalf("%+v", r)
		}
		v.want("q", "2")
		for _, w := range ends() {
			t.Errorf("ended: %s", w)
		}
	}
	v.want("e", "ended")
	v.running()
}
