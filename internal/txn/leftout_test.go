package txn_test

import (
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// A partial hotpatch is not for processes that use what it leaves out; others
// get it. Such a process is found even when it maps nothing else of it.
func TestProcessThatUsesWhatIsLeftOutIsRefused(t *testing.T) {
	base, fixed := compile(t, "kinds", "-g")
	other, _ := compile(t, "onstack", "-g")
	b := built(t, base, fixed)
	leave := func(path string) *patch.Bundle {
		p := *b
		p.Accepted = nil
		p.Manifest.Verdict = patch.Review
		p.Manifest.Mode = patch.Strict
		p.Manifest.Reasons = []patch.Reason{{Code: "image-left-out", Detail: "a test"}}
		p.Manifest.LeftOut = []patch.LeftOut{{Path: path, BuildIDBase: string(openImage(t, path).BuildID)}}
		return accepted(t, &p)
	}
	v, w := start(t, base), start(t, other)

	here := leave(mappedFile(t, v.pid, "/libc.so.6"))
	for _, pid := range []int{v.pid, w.pid} {
		if r := txn.Apply(t.Context(), pid, here, txn.Options{}); r.Outcome != txn.Denied || !strings.Contains(r.Reason, "libc.so.6, which this hotpatch leaves out") {
			t.Errorf("%+v", r)
		}
	}
	v.want("i10", "7")

	elsewhere := leave(other)
	pids, _, err := txn.Targets(elsewhere)
	if err != nil || !slices.Contains(pids, v.pid) || !slices.Contains(pids, w.pid) {
		t.Errorf("targets %v, %v", pids, err)
	}
	apply(t, v, elsewhere, txn.Applied)
	v.want("i10", "13")
	apply(t, v, elsewhere, txn.Already)
}

// mappedFile is the file that a process maps under a path with this end.
func mappedFile(t *testing.T, pid int, end string) string {
	t.Helper()
	maps, err := proc.Maps(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if strings.HasSuffix(m.Path, end) {
			return m.Path
		}
	}
	t.Fatalf("process %d maps no %s", pid, end)
	return ""
}
