package rebuild

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nobody builds when root started us: what a source package runs is code from
// outside.
const nobody = 65534

// room is where a source package is built: on this host, or in a Debian root of
// its own. Everything that runs there writes to the log.
type room struct {
	root string // directory of the Debian root; "" is this host
	log  string // path
}

// StepError is a step of a rebuild that went wrong.
type StepError struct {
	Package string   // "redis=5:7.0.15-1~deb12u7"
	Step    string   // "build", ...
	Log     string   // path of the log with all output; "" when there is none
	Tail    []string // its last lines
	Err     error
}

func (e *StepError) Error() string {
	text := fmt.Sprintf("%s %s: %v", e.Step, e.Package, e.Err)
	if e.Log != "" {
		text += " (log: " + e.Log + ")"
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// MissingError says which build dependencies are not installed.
type MissingError struct {
	Packages []string // as in a field Build-Depends: "debhelper (>= 13)"
	Command  string   // what installs them
}

func (e *MissingError) Error() string {
	return "build dependencies are missing: " + strings.Join(e.Packages, ", ")
}

// command is one program to run in the room.
type command struct {
	dir     string // in the room
	env     []string
	args    []string
	root    bool // as root, to install packages; with the network
	quiet   bool // output is returned, not logged
	timeout time.Duration
}

// run starts a program in the room and waits for it. It is killed with all its
// children when ctx ends. Output goes to the log, or is returned when quiet.
func (r *room) run(ctx context.Context, c command) (string, error) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not done after %v", c.timeout))
		defer cancel()
	}
	cmd, err := r.command(ctx, c)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if c.quiet {
		cmd.Stdout, cmd.Stderr = &limited{w: &text, left: 1 << 20}, nil
		cmd.Stderr = cmd.Stdout
	} else {
		f, err := os.OpenFile(r.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return "", err
		}
		defer f.Close()
		fmt.Fprintf(f, "$ %s\n", strings.Join(c.args, " "))
		out := &limited{w: f, left: maxLog}
		cmd.Stdout, cmd.Stderr = out, out
	}
	if err = cmd.Start(); err == nil {
		err = cmd.Wait()
		// What a build leaves running is of no use to anybody.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return text.String(), context.Cause(ctx)
	}
	return text.String(), err
}

// maxLog bounds the output of one step.
const maxLog = 256 << 20

// limited drops what is too much.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// path is the search path of Debian's own builders.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (r *room) command(ctx context.Context, c command) (*exec.Cmd, error) {
	args := c.args
	attr := &syscall.SysProcAttr{Setpgid: true}
	if r.root != "" {
		// Names of its own for processes, so that nothing outlives us; no
		// network, as on Debian's builders.
		inside := []string{"unshare", "--fork", "--pid", "--kill-child", "--mount-proc", "--root=" + r.root, "--wd=" + c.dir}
		if !c.root {
			inside = append(inside, "--net", fmt.Sprintf("--setgid=%d", nobody), fmt.Sprintf("--setuid=%d", nobody))
		}
		args = append(append(inside, "--"), args...)
	} else if os.Geteuid() == 0 && !c.root {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	exe, err := exec.LookPath(args[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, args[1:]...)
	if r.root == "" {
		cmd.Dir = c.dir
	}
	cmd.SysProcAttr = attr
	cmd.Env = append([]string{"PATH=" + searchPath, "HOME=/nonexistent", "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive"}, c.env...)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// makeDir makes a directory of the room that the builder owns, empty.
func (r *room) makeDir(path string) error {
	base, rel, err := r.within(path)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := base.RemoveAll(rel); err != nil {
		return err
	}
	if err := base.MkdirAll(rel, 0o755); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return base.Chown(rel, nobody, nobody)
	}
	return nil
}

// removeDir removes a directory that makeDir made. What it cannot remove is in
// nobody's way.
func (r *room) removeDir(path string) {
	if base, rel, err := r.within(path); err == nil {
		_ = base.RemoveAll(rel)
		_ = base.Close()
	}
}

// within is a path of the room as one that no link leads out of.
func (r *room) within(path string) (base *os.Root, rel string, err error) {
	rel = strings.TrimPrefix(filepath.Clean(path), "/")
	if r.root == "" {
		if rel, err = filepath.Rel(r.base(), path); err != nil {
			return nil, "", err
		}
	}
	base, err = os.OpenRoot(r.base())
	return base, rel, err
}

// base is the directory that the room's files are in, seen from here.
func (r *room) base() string {
	if r.root != "" {
		return r.root
	}
	return filepath.Dir(r.log)
}

// outside is the path here of a path in the room.
func (r *room) outside(path string) string {
	if r.root == "" {
		return path
	}
	return filepath.Join(r.root, path)
}

var unmet = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^dpkg-checkbuilddeps: error: Unmet build dependencies: (.*)$`)
})

// missing lists what dpkg-checkbuilddeps lacks, and the tools of a build.
func (r *room) missing(ctx context.Context, source string) ([]string, error) {
	var out []string
	tools := [][2]string{{"dpkg-buildpackage", "dpkg-dev"}}
	if !r.rootless(source) {
		tools = append(tools, [2]string{"fakeroot", "fakeroot"})
	}
	for _, need := range tools {
		if _, err := r.run(ctx, command{dir: "/", args: []string{"sh", "-c", "command -v " + need[0]}, quiet: true}); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			out = append(out, need[1])
		}
	}
	if len(out) > 0 && out[0] == "dpkg-dev" {
		return out, nil
	}
	text, err := r.run(ctx, command{dir: source, args: []string{"dpkg-checkbuilddeps", "-B"}, env: []string{"DEB_BUILD_PROFILES=nocheck"}, quiet: true})
	if err == nil {
		return out, nil
	}
	m := unmet().FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("check build dependencies: %w: %.300s", err, strings.TrimSpace(text))
	}
	return append(out, splitDepends(m[1])...), nil
}

var requiresNoRoot = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?mi)^Rules-Requires-Root:[ \t]*no[ \t]*$`)
})

// rootless says whether the source can be built without even seeming to be root
// (Debian Policy 5.6.31).
func (r *room) rootless(source string) bool {
	base, err := os.OpenRoot(r.outside(source))
	if err != nil {
		return false
	}
	defer base.Close()
	f, err := base.Open("debian/control")
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return err == nil && requiresNoRoot().Match(text)
}

// splitDepends splits "a b (>= 1) c | d" at the packages.
func splitDepends(text string) []string {
	var out []string
	join := false
	for _, w := range strings.Fields(text) {
		switch {
		case w == "|":
			join = true
		case join || strings.HasPrefix(w, "(") || strings.HasSuffix(w, ")"):
			if len(out) > 0 {
				sep := " "
				if join {
					sep = " | "
				}
				out[len(out)-1] += sep + w
			}
			join = false
		default:
			out = append(out, w)
		}
	}
	return out
}

// installCommand is what a person would type to install the build dependencies.
func (r *room) installCommand(dsc string, tools []string) string {
	text := "apt-get build-dep --arch-only --no-install-recommends -P nocheck " + dsc
	var names []string
	for _, t := range tools {
		if t == "dpkg-dev" || t == "fakeroot" {
			names = append(names, t)
		}
	}
	if len(names) > 0 {
		text = "apt-get install " + strings.Join(names, " ") + " && " + text
	}
	return text
}

// install installs the build dependencies in the room.
func (r *room) install(ctx context.Context, dsc string) error {
	if os.Geteuid() != 0 {
		return errors.New("installing packages needs root")
	}
	apt := []string{"apt-get", "-q", "-y", "-o", "APT::Sandbox::User=root", "--no-install-recommends"}
	steps := [][]string{append(apt, "install", "dpkg-dev", "fakeroot"), append(apt, "--arch-only", "-P", "nocheck", "build-dep", dsc)}
	if r.root != "" { // a fresh root has no lists
		steps = append([][]string{append(apt, "update")}, steps...)
	}
	for _, s := range steps {
		if _, err := r.run(ctx, command{dir: "/", args: s, root: true}); err != nil {
			return err
		}
	}
	return nil
}

// tail are the last lines of the log.
func (r *room) tail(n int) []string {
	f, err := os.Open(r.log)
	if err != nil {
		return nil
	}
	defer f.Close()
	const reach = 16 << 10
	if st, err := f.Stat(); err == nil && st.Size() > reach {
		if _, err := f.Seek(-reach, io.SeekEnd); err != nil {
			return nil
		}
	}
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines[max(0, len(lines)-n):]
}

// minFree is how much of a disk a rebuild leaves to others.
const minFree = 1 << 30

// freeBytes is how much room an ordinary user has on the disk of dir.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look for room on the disk of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// watchDisk ends the context when the disk of dir is nearly full.
func watchDisk(ctx context.Context, dir string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for t := time.NewTicker(2 * time.Second); ; {
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
				if n, err := freeBytes(dir); err == nil && n < minFree {
					cancel(fmt.Errorf("less than 1 GiB is left on the disk of %s", dir))
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
