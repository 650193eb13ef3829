package txn_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

// Who may patch whom: the tool runs as another user or with fewer capabilities.

// public copies a file to where every user can reach it.
func public(t testing.TB, path string, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hotpatch-public-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to := filepath.Join(dir, filepath.Base(path))
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, mode); err != nil {
		t.Fatal(err)
	}
	return to
}

// people gives out what setpriv needs to be somebody: nobody, somebody else,
// root without most of its power.
type people struct{ setpriv string }

const ordinary, stranger = "65534", "65533"

func needPeople(t testing.TB) people {
	t.Helper()
	needRoot(t)
	path, err := exec.LookPath("setpriv")
	if err != nil {
		testkit.Skip(t, "setpriv is missing")
	}
	return people{path}
}

func (p people) user(uid string, caps ...string) []string {
	inh := "-all"
	for _, c := range caps {
		inh += ",+" + c
	}
	return []string{p.setpriv, "--reuid=" + uid, "--regid=" + uid, "--clear-groups", "--inh-caps=" + inh, "--ambient-caps=" + inh, "--bounding-set=" + inh}
}

// root has exactly these capabilities.
func (p people) root(caps ...string) []string {
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	return []string{p.setpriv, "--inh-caps=" + set, "--bounding-set=" + set}
}

// tryAs has somebody apply or revert; the answer is outcome and reason.
func tryAs(t testing.TB, who []string, tool, verb string, v *victim, file string) string {
	t.Helper()
	cmd := exec.Command(who[0], append(who[1:], tool, verb, itoa(v.pid), file, "-1")...)
	cmd.Env = append(os.Environ(), "HOTPATCH_TEST_TOOL=1")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", who, err, said.String())
	}
	return strings.TrimSpace(said.String())
}

func TestWhoMayPatchWhom(t *testing.T) {
	p := needPeople(t)
	base, fixed := compile(t, "confined")
	b := byHand(t, base, fixed, "fixed_function")
	file := public(t, writeBundle(t, b), 0o644)
	tool := public(t, os.Args[0], 0o755)
	program := public(t, base, 0o755)
	setuid := public(t, base, 0o755|os.ModeSetuid)
	as := func(who []string, args ...string) []string { return append(append([]string(nil), who...), args...) }

	for _, tc := range []struct {
		name   string
		victim []string // command
		tool   []string // prefix
		want   string   // beginning of the outcome
		says   []string
	}{
		{"an ordinary user, own process", as(p.user(ordinary), program), p.user(ordinary), "applied", nil},
		{"an ordinary user, root's process", []string{program}, p.user(ordinary), "refused", []string{"uid 0", "CAP_SYS_PTRACE"}},
		{"an ordinary user, a stranger's process", as(p.user(stranger), program), p.user(ordinary), "refused", []string{"uid " + stranger, "CAP_SYS_PTRACE"}},
		{"an ordinary user, own process that is not dumpable", as(p.user(ordinary), program, "undumpable"), p.user(ordinary), "refused", []string{"not dumpable"}},
		{"an ordinary user, own set-uid process", as(p.user(ordinary), setuid), p.user(ordinary), "refused", []string{"set-uid", "CAP_SYS_PTRACE"}},
		{"an ordinary user, own sandboxed process", as(p.user(ordinary), program, "seccomp-errno"), p.user(ordinary), "refused", []string{"seccomp", "CAP_SYS_ADMIN"}},
		{"root with CAP_SYS_PTRACE alone", []string{program}, p.root("sys_ptrace"), "applied", nil},
		{"root with CAP_SYS_PTRACE alone, not dumpable", []string{program, "undumpable"}, p.root("sys_ptrace"), "applied", nil},
		{"root with CAP_SYS_PTRACE alone, sandboxed", []string{program, "seccomp-kill"}, p.root("sys_ptrace"), "refused", []string{"seccomp", "CAP_SYS_ADMIN"}},
		{"root with CAP_SYS_PTRACE and CAP_SYS_ADMIN, sandboxed", []string{program, "seccomp-kill"}, p.root("sys_ptrace", "sys_admin"), "applied", nil},
		{"root without capabilities, own process", []string{program}, p.root(), "refused", []string{"CAP_SYS_PTRACE"}},
		{"an ordinary user, own process in a user namespace", as(p.user(ordinary), "unshare", "--user", "--map-root-user", program), p.user(ordinary), "applied", nil},
		{"a container's root, a process outside", as(p.user(stranger), program), as(p.user(ordinary), "unshare", "--user", "--map-root-user"), "refused", []string{"user namespace"}},
		{"root, a set-uid process", as(p.user(ordinary), setuid), []string{"env"}, "applied", nil},
		{"a user with CAP_SYS_PTRACE alone", as(p.user(stranger), program), p.user(ordinary, "sys_ptrace"), "applied", nil},
		{"a user with CAP_SYS_PTRACE alone, not dumpable", as(p.user(stranger), program, "undumpable"), p.user(ordinary, "sys_ptrace"), "refused", []string{"CAP_DAC_OVERRIDE", "permission denied"}},
		{"a user with CAP_SYS_PTRACE alone, sandboxed", as(p.user(stranger), program, "seccomp-errno"), p.user(ordinary, "sys_ptrace"), "refused", []string{"seccomp", "CAP_SYS_ADMIN"}},
		{"a user with CAP_SYS_PTRACE alone, root's process", []string{program}, p.user(ordinary, "sys_ptrace"), "applied", nil},
		{"root with CAP_SYS_PTRACE alone, a user's process", as(p.user(stranger), program), p.root("sys_ptrace"), "applied", nil},
		{"a user with CAP_SYS_PTRACE and CAP_DAC_OVERRIDE", as(p.user(stranger), program), p.user(ordinary, "sys_ptrace", "dac_override"), "applied", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := start(t, tc.victim[0], tc.victim[1:]...)
			got := tryAs(t, tc.tool, tool, "apply", v, file)
			if !strings.HasPrefix(got, tc.want) {
				t.Fatalf("%s, not %s", got, tc.want)
			}
			for _, s := range tc.says {
				if !strings.Contains(got, s) {
					t.Errorf("%q does not name %q", got, s)
				}
			}
			if tc.want != "applied" {
				v.want("q", "2")
				v.running()
				if n := executableAnonymous(t, v.pid); n != 0 {
					t.Errorf("%d mappings left behind", n)
				}
				return
			}
			v.want("q", "1001")
			if got := tryAs(t, tc.tool, tool, "revert", v, file); !strings.HasPrefix(got, "reverted") {
				t.Fatal(got)
			}
			v.want("q", "2")
			v.running()
		})
	}
}
