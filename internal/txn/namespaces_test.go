package txn_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/testkit"
	"hotpatch/internal/txn"
)

// Processes in another root, other namespaces, with their file gone.

// rooted makes a directory with the program and the libraries it needs, as the
// root of a container.
func rooted(t testing.TB, program string) (root, inside string) {
	t.Helper()
	root = filepath.Dir(public(t, program, 0o755))
	inside = "/" + filepath.Base(program)
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		testkit.Skip(t, "ldd: "+err.Error())
	}
	for _, f := range strings.Fields(string(out)) {
		if !strings.HasPrefix(f, "/") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root, inside
}

// startElsewhere starts a victim that does not know its pid as we do; it is
// found by its name, and by the pipe that it writes to.
func startElsewhere(t testing.TB, name string, command ...string) *victim {
	t.Helper()
	v, _ := launch(t, command[0], command[1:]...)
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || string(bytes.TrimSpace(b)) != name {
			continue
		}
		if out, err := os.Stat(filepath.Join(filepath.Dir(f), "fd/1")); err == nil && os.SameFile(out, v.pipe) {
			v.is(number(t, strings.Split(f, "/")[2]))
			return v
		}
	}
	t.Fatalf("no process %s was found", name)
	return nil
}

func TestProcessInAnotherRootAndNamespaces(t *testing.T) {
	needRoot(t)
	base, fixed := compile(t, "confined")
	if err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").Run(); err != nil {
		testkit.Skip(t, "unshare: "+err.Error())
	}
	b := byHand(t, base, fixed, "fixed_function")
	root, inside := rooted(t, base)
	name := filepath.Base(base)
	for _, tc := range []struct {
		name    string
		command []string
		gone    bool
	}{
		{"chroot", []string{"chroot", root, inside}, false},
		{"new mount, pid, network, IPC and host name namespaces", []string{"unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "chroot", root, inside}, false},
		{"user namespace", []string{"unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "chroot", root, inside}, false},
		{"its file is deleted", []string{"chroot", root, inside}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := startElsewhere(t, name, tc.command...)
			if tc.gone {
				if err := os.Remove(filepath.Join(root, inside)); err != nil {
					t.Fatal(err)
				}
			}
			thereAndBack(t, v, b, "2", "1001")
			apply(t, v, b, txn.Applied)
			pids, _, err := txn.Targets(b)
			found := false
			for _, pid := range pids {
				found = found || pid == v.pid
			}
			if err != nil || !found {
				t.Errorf("process %d is not among the targets %v, %v", v.pid, pids, err)
			}
		})
	}
}
