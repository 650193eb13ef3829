package txn_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// TestFrozenProcessIsLeftAlone: nobody in it can stop, or come back from a loan,
// before it thaws. It notices no more than it does of the freezing itself.
func TestFrozenProcessIsLeftAlone(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "blocked", "-DSHORT")
	kinds := freezers()
	if len(kinds) == 0 {
		testkit.Skip(t, "there are no cgroups that can freeze")
	}
	for _, kind := range kinds {
		for _, how := range []txn.How{txn.Stopped, txn.Exchanged} {
			t.Run(kind.file+", "+string(how), func(t *testing.T) {
				b := byHand(t, base, fixed, "fixed_function")
				if how == txn.Exchanged {
					b = independent(t, b)
				}
				left, v := start(t, base), start(t, base)
				for _, x := range []*victim{left, v} {
					freeze := kind.group(t, x.pid)
					freeze(true)
					if x == v {
						r := txn.Apply(context.Background(), v.pid, b, txn.Exchanging(txn.Options{Wait: 300 * time.Millisecond}))
						if r.Outcome != txn.Busy || !strings.Contains(r.Reason, "frozen") {
							t.Errorf("%+v", r)
						}
					}
					freeze(false)
					time.Sleep(100 * time.Millisecond)
				}
				noticed := func(v *victim) string { s, _, _ := strings.Cut(v.ask("c"), " last"); return s }
				if was, is := noticed(left), noticed(v); is != was {
					t.Errorf("%q, without us %q", is, was)
				}
				v.want("q", "2")
				apply(t, v, b, txn.Applied)
				v.want("q", "1001")
				v.running()
			})
		}
	}
}

// freezer is one kind of cgroup that freezes.
type freezer struct {
	root, file   string
	thaw, freeze string // what is written to the file
}

// freezers are those of this host, which may have both versions.
func freezers() (all []freezer) {
	for _, f := range []struct {
		sign string
		freezer
	}{
		{"/sys/fs/cgroup/freezer", freezer{"/sys/fs/cgroup/freezer", "freezer.state", "THAWED", "FROZEN"}},
		{"/sys/fs/cgroup/cgroup.procs", freezer{"/sys/fs/cgroup", "cgroup.freeze", "0", "1"}},
		{"/sys/fs/cgroup/unified/cgroup.procs", freezer{"/sys/fs/cgroup/unified", "cgroup.freeze", "0", "1"}},
	} {
		if _, err := os.Stat(f.sign); err == nil {
			all = append(all, f.freezer)
		}
	}
	return all
}

// group puts a process into a cgroup of its own, and returns what freezes and
// thaws that.
func (f freezer) group(t *testing.T, pid int) (freeze func(on bool)) {
	t.Helper()
	dir := filepath.Join(f.root, "hotpatch-test-"+itoa(pid))
	put := func(path, s string) error { return os.WriteFile(path, []byte(s), 0) }
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = put(filepath.Join(dir, "cgroup.procs"), itoa(pid))
	}
	if err != nil {
		testkit.Skip(t, "no cgroup can be made here: "+err.Error())
	}
	t.Cleanup(func() {
		_ = put(filepath.Join(dir, f.file), f.thaw)
		_ = put(filepath.Join(f.root, "cgroup.procs"), itoa(pid))
		_ = os.Remove(dir)
	})
	return func(on bool) {
		t.Helper()
		word, events := f.thaw, "frozen 0"
		if on {
			word, events = f.freeze, "frozen 1"
		}
		if err := put(filepath.Join(dir, f.file), word); err != nil {
			t.Fatal(err)
		}
		for range 400 {
			state, _ := os.ReadFile(filepath.Join(dir, f.file))
			told, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
			if strings.TrimSpace(string(state)) == word && (err != nil || strings.Contains(string(told), events)) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("%s does not become %s", dir, word)
	}
}
