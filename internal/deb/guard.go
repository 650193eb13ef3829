package deb

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A guard keeps packages from starting, stopping or restarting anything while
// they are installed. Three things work together:
//
//   - policy-rc.d, which invoke-rc.d(8) and deb-systemd-invoke(1p) ask. Both have
//     its path built in (/usr/sbin/policy-rc.d), so it has to be there. It
//     refuses only what descends from our own installation or happens while
//     that runs: one that a power cut left behind is as good as none.
//   - when an administrator has one already it is never touched: ours is laid
//     over it in a mount namespace that only the installation sees and that
//     ends with it.
//   - commands first in PATH that stand for systemctl, service and their kin,
//     because some maintainer scripts call those directly. They let through
//     what changes no running service (daemon-reload, enable, is-active, ...).
//
// What was withheld is written down and returned.
//
// What calls an init script by its path (/etc/init.d/x restart), which Debian
// policy 9.3.3 forbids, gets around it.
type guard struct {
	sys   System
	token string
	cover string // the policy to lay over the administrator's, as scripts see it; "" when ours is in place
}

// Action is something that a package's script wanted done to a service.
type Action struct {
	Package string   `json:"package"` // whose script; "" when dpkg did not say
	Script  string   `json:"script"`  // preinst, postinst, prerm, postrm
	Tool    string   `json:"tool"`    // policy-rc.d, systemctl, service, ...
	Args    []string `json:"args"`
}

// ErrPolicy says that there is no way to keep services from being restarted.
var ErrPolicy = errors.New("an administrator's policy-rc.d would allow restarts and cannot be covered here")

const (
	policyPath = "/usr/sbin/policy-rc.d"
	marker     = "# Made by hotpatch for the time of one installation."
	maxLog     = 4 << 20
)

// raise puts the guard up. Precondition: we hold the installation lock.
func (s System) raise(ctx context.Context) (*guard, error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	g := &guard{sys: s, token: hex.EncodeToString(b[:])}
	if err := s.lower(); err != nil { // a former run's
		return nil, err
	}
	if err := g.write(); err != nil {
		return nil, errors.Join(fmt.Errorf("write guard: %w", err), s.lower())
	}
	if err := g.place(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("place guard: %w", err), s.lower())
	}
	return g, nil
}

// lower takes away what raise put there, of this run or of one that was killed.
func (s System) lower() error {
	name := s.file(policyPath)
	if ours, err := isOurs(name); err != nil {
		return err
	} else if ours {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove guard: %w", err)
		}
	}
	if err := os.RemoveAll(s.file(s.state("guard"))); err != nil {
		return fmt.Errorf("remove guard: %w", err)
	}
	return nil
}

// isOurs: a file with our mark in its second line.
func isOurs(name string) (bool, error) {
	st, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Size() > 64<<10 {
		return false, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	return strings.HasPrefix(string(b), "#!/bin/sh\n"+marker+"\n"), nil
}

func (g *guard) bin() string { return g.sys.seen(g.sys.state("guard/bin")) }
func (g *guard) log() string { return g.sys.seen(g.sys.state("guard/log")) }

func (g *guard) write() error {
	bin := g.sys.file(g.sys.state("guard/bin"))
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(g.sys.file(g.sys.state("guard/log")), nil, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(g.sys.file(g.sys.state("guard/policy-rc.d")), []byte(g.policy()), 0o755); err != nil { //nolint:gosec // it is run by scripts
		return err
	}
	for _, tool := range []string{"systemctl", "deb-systemd-invoke", "invoke-rc.d", "service", "telinit", "init", "shutdown", "reboot"} {
		real := ""
		for _, dir := range searchPath() {
			if st, err := os.Stat(g.sys.programs(filepath.Join(dir, tool))); err == nil && st.Mode()&0o111 != 0 {
				real = filepath.Join(dir, tool)
				break
			}
		}
		if real == "" {
			continue // scripts look whether it is there
		}
		if err := os.WriteFile(filepath.Join(bin, tool), []byte(g.wrapper(tool, real)), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}

func searchPath() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// note is the shell function that writes an action down: one line, fields
// separated by tabs.
func (g *guard) note() string {
	return `note() {
	line="$DPKG_MAINTSCRIPT_PACKAGE	$DPKG_MAINTSCRIPT_NAME"
	for word; do line="$line	$(printf %s "$word" | tr '\t\n' '  ')"; done
	printf '%s\n' "$line" >> ` + quote(g.log()) + ` 2>/dev/null || :
}
`
}

func (g *guard) policy() string {
	return "#!/bin/sh\n" + marker + `
# It says no to every start, stop and restart that comes from that
# installation, or from anything while it runs; once it is over, this file
# changes nothing and can be removed.
` + g.note() + `
for word; do case $word in status) exit 104 ;; esac; done
if [ "$HOTPATCH_INSTALL" = ` + g.token + ` ]; then
	note policy-rc.d "$@"
	exit 101
fi
if [ -e ` + quote(g.sys.seen(g.sys.state("lock"))) + ` ] && ! flock -n ` + quote(g.sys.seen(g.sys.state("lock"))) + ` true; then
	exit 101
fi
[ -e /sbin/init ] || exit 101 # as without any policy
exit 104
`
}

// wrapper is the script that stands for a tool. The verb of systemctl is the
// first word that is neither an option nor the value of one (systemctl(1)).
func (g *guard) wrapper(tool, real string) string {
	head := "#!/bin/sh\n" + marker + "\n" + g.note() + "real=" + quote(real) + "\ntool=" + tool + "\n"
	switch tool {
	case "systemctl", "deb-systemd-invoke":
		return head + `verb= value= now=
for word; do
	if [ -n "$value" ]; then value=; continue; fi
	case $word in
	-t|-p|-P|-H|-M|-s|-n|-o|--type|--state|--property|--host|--machine|--signal|--lines|--output|--job-mode|--kill-whom|--kill-who|--root|--image|--preset-mode|--when|--what|--boot-loader-entry|--boot-loader-menu|--reboot-argument|--check-inhibitors|--timestamp|--drop-in) value=1 ;;
	--now) now=1 ;;
	-*) ;;
	*) [ -n "$verb" ] || verb=$word ;;
	esac
done
case $verb in
start|stop|restart|try-restart|condrestart|reload|force-reload|reload-or-restart|try-reload-or-restart|isolate|kill|clean|freeze|thaw|daemon-reexec|default|rescue|emergency|halt|poweroff|reboot|kexec|soft-reboot|exit|switch-root|suspend|hibernate|hybrid-sleep|suspend-then-hibernate)
	note "$tool" "$@"
	exit 0 ;;
esac
if [ -n "$now" ]; then
	note "$tool" "$@"
	n=$#
	while [ $n -gt 0 ]; do
		word=$1; shift; n=$((n-1))
		[ "$word" = --now ] || set -- "$@" "$word"
	done
fi
exec "$real" "$@"
`
	case "invoke-rc.d":
		return head + `code=0
for word; do
	case $word in
	--query|--disclose-deny) code=101 ;;
	status|--help) exec "$real" "$@" ;;
	esac
done
note "$tool" "$@"
exit $code
`
	case "service":
		return head + `case $2 in status) exec "$real" "$@" ;; esac
case $1 in -*) exec "$real" "$@" ;; esac
note "$tool" "$@"
exit 0
`
	}
	return head + "note \"$tool\" \"$@\"\nexit 0\n"
}

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// place puts the policy where it is asked: link(2) never replaces a file.
func (g *guard) place(ctx context.Context) error {
	name := g.sys.file(policyPath)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".hotpatch-" + g.token
	if err := os.WriteFile(tmp, []byte(g.policy()), 0o755); err != nil { //nolint:gosec // it is run by scripts
		return err
	}
	err := os.Link(tmp, name)
	if err := os.Remove(tmp); err != nil {
		return err
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	g.cover = g.sys.seen(g.sys.state("guard/policy-rc.d"))
	if probe := g.command(ctx, nil, "/bin/true"); probe.Run() == nil {
		return nil
	}
	g.cover = ""
	return g.ask(ctx)
}

// ask asks the administrator's policy, which promises to do nothing but answer
// (its exit code 101: forbidden). invoke-rc.d(8), "policy-rc.d".
func (g *guard) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, action := range []string{"restart", "start", "stop"} {
		cmd := g.sys.command(ctx, g.sys.seen(policyPath), "hotpatch-probe", action)
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 101 {
			return ErrPolicy
		}
	}
	return nil
}

// command is a program under the guard.
func (g *guard) command(ctx context.Context, env []string, program string, args ...string) *exec.Cmd {
	var cmd *exec.Cmd
	if g.cover == "" {
		cmd = g.sys.command(ctx, program, args...)
	} else {
		// The namespace and the mount end with the last process in it.
		script := `mount --bind "$0" "$1" && shift && exec "$@"`
		cmd = g.sys.command(ctx, "/bin/sh", append([]string{"-c", script, g.cover, g.sys.seen(policyPath), program}, args...)...)
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	cmd.Env = append(cmd.Env, "HOTPATCH_INSTALL="+g.token, "NEEDRESTART_SUSPEND=1", "NEEDRESTART_MODE=l",
		"APT_LISTCHANGES_FRONTEND=none", "APT_LISTBUGS_FRONTEND=none", "UCF_FORCE_CONFFOLD=1", "PATH="+g.path())
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// path is PATH with our commands first.
func (g *guard) path() string { return g.bin() + ":" + strings.Join(searchPath(), ":") }

// withheld reads what the scripts wanted done. policy-rc.d and the commands
// before it see the same request: then the command's line is kept.
func (g *guard) withheld() ([]Action, error) {
	f, err := os.Open(g.sys.file(g.sys.state("guard/log")))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(&bounded{r: f, left: maxLog})
	var out []Action
	for s.Scan() {
		if a, ok := parseAction(s.Text()); ok {
			out = append(out, a)
		}
	}
	return out, s.Err()
}

func parseAction(line string) (Action, bool) {
	f := strings.Split(line, "\t")
	if len(f) < 3 || len(f) > 200 || f[2] == "" {
		return Action{}, false
	}
	return Action{Package: f[0], Script: f[1], Tool: f[2], Args: f[3:]}, true
}
