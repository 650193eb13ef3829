package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// System is a Debian whose packages are kept up to date: this host, or a
// directory with one in it. The zero value is this host.
type System struct {
	// Root is the directory, "" for this host. Its own apt and dpkg are used,
	// behind chroot(2).
	Root string
	// Outside uses this host's apt and dpkg on Root instead, and runs scripts
	// here (dpkg --root, --force-script-chrootless): for directories that
	// hold no programs, and without privileges.
	Outside bool
	// State is a directory of ours inside Root; "" is /var/lib/hotpatch/deb.
	State string
	// LockWait is how long to wait for others who use dpkg; 0 is two minutes,
	// less than 0 not at all.
	LockWait time.Duration
	// Limit is how long dpkg may work before it is stopped and the packages
	// are left to Repair; 0 is one hour.
	Limit time.Duration
	// Apt are further options of apt, each "Name=value".
	Apt []string
}

const (
	defaultState    = "/var/lib/hotpatch/deb"
	defaultLockWait = 2 * time.Minute
	defaultLimit    = time.Hour
	maxOutput       = 64 << 20 // of a tool whose answer is read
	maxTail         = 64 << 10 // of a log that is returned
)

// state is the name of one of our files, inside Root.
func (s System) state(name string) string {
	dir := s.State
	if dir == "" {
		dir = defaultState
	}
	return filepath.Join("/", dir, name)
}

// file is a file of the system as this process sees it.
func (s System) file(name string) string { return filepath.Join("/", s.Root, name) }

// seen is a file of the system as apt, dpkg and the packages' scripts see it.
func (s System) seen(name string) string {
	if s.Outside {
		return s.file(name)
	}
	return name
}

// programs is where we see a program that they see under this name.
func (s System) programs(name string) string {
	if s.Outside {
		return name
	}
	return s.file(name)
}

// Dpkg are the files of its dpkg.
func (s System) Dpkg() Dpkg { return Dpkg{Root: s.Root} }

func (s System) chroot() bool {
	return !s.Outside && s.Root != "" && filepath.Clean(s.Root) != "/"
}

// Arch is Debian's name of the architecture this program was built for.
func Arch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}

// command is a program of the system. A name without slash is looked up there.
func (s System) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if !strings.Contains(program, "/") {
		for _, dir := range searchPath() {
			if st, err := os.Stat(s.programs(filepath.Join(dir, program))); err == nil && st.Mode()&0o111 != 0 {
				program = filepath.Join(dir, program)
				break
			}
		}
	}
	if !strings.Contains(program, "/") {
		program = "/usr/bin/" + program // and let it be missed by this name
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, and no keys meant for us
	if s.chroot() {
		cmd.SysProcAttr.Chroot = s.Root
	}
	cmd.Env = []string{"LC_ALL=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
		"PATH=" + strings.Join(searchPath(), ":")}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "TMPDIR", "APT_CONFIG"} {
		if v, ok := os.LookupEnv(name); ok && (name != "TMPDIR" || s.Outside) {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // apt ends its helpers itself
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// ask runs a program that changes nothing and returns its standard output.
func (s System) ask(ctx context.Context, program string, args ...string) (string, error) {
	return answer(ctx, s.command(ctx, program, args...))
}

func answer(ctx context.Context, cmd *exec.Cmd) (string, error) {
	stdout, stderr := &capped{left: maxOutput}, &capped{left: maxTail}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	tool := filepath.Base(cmd.Path)
	switch {
	case err == nil && stdout.over:
		return "", fmt.Errorf("%s: its answer has more than %d bytes", tool, maxOutput)
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: %s", ErrNoApt, tool)
	}
	return stdout.String(), aptError(tool, lastErrors(stderr.String()), err)
}

// lastErrors puts apt's errors before its warnings.
func lastErrors(stderr string) string {
	var errs, rest []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "E:") {
			errs = append(errs, line)
		} else {
			rest = append(rest, line)
		}
	}
	return strings.Join(append(errs, rest...), "")
}

// capped keeps the first bytes of what is written to it and takes the rest.
type capped struct {
	bytes.Buffer
	left int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.over = c.over || n < len(p)
	c.left -= n
	_, err := c.Buffer.Write(p[:n])
	return len(p), err
}

// aptArgs are the options that every use of apt gets.
func (s System) aptArgs() []string {
	opts := []string{
		"Acquire::Retries=2", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20",
		"APT::Color=0", "Dpkg::Use-Pty=0", "APT::Get::Always-Include-Phased-Updates=true",
		"APT::Keep-Downloaded-Packages=true",
		"Dir::Cache::archives=" + s.seen(s.state("archives")),
	}
	if os.Geteuid() == 0 {
		opts = append(opts, "APT::Sandbox::User=root") // _apt could not write into our directory
	}
	if s.Outside {
		opts = append(opts,
			"Dir::State="+s.file("/var/lib/apt"), "Dir::State::status="+s.file("/var/lib/dpkg/status"),
			"Dir::Cache="+s.file("/var/cache/apt"), "Dir::Etc="+s.file("/etc/apt"), "Dir::Log="+s.file("/var/log/apt"))
	}
	opts = append(opts, s.Apt...)
	args := make([]string, 0, 2*len(opts)+1)
	args = append(args, "-q")
	for _, o := range opts {
		args = append(args, "-o", o)
	}
	return args
}

// dpkgArgs are the options that every use of dpkg gets: an administrator's
// configuration files stay as they are.
func (s System) dpkgArgs() []string {
	args := []string{"--force-confdef", "--force-confold"}
	if s.Outside {
		args = append(args, "--root="+s.file("/"), "--force-script-chrootless")
		if os.Geteuid() != 0 {
			args = append(args, "--force-not-root")
		}
	}
	return args
}

// prepare makes the directories that apt and we need.
func (s System) prepare() error {
	dirs := []string{s.state(""), s.state("archives/partial"), s.state("log")}
	if s.Outside {
		dirs = append(dirs, "/var/lib/apt/lists/partial", "/var/cache/apt", "/var/log/apt", "/etc/apt/preferences.d", "/etc/apt/apt.conf.d")
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(s.file(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Update fetches the package lists of all sources of the system.
func (s System) Update(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return fmt.Errorf("update package lists: %w", err)
	}
	if _, err := s.ask(ctx, "apt-get", append(s.aptArgs(), "-o", "APT::Update::Error-Mode=any", "update")...); err != nil {
		return fmt.Errorf("update package lists: %w", err)
	}
	return nil
}

// tail is the end of a file, whole lines.
func tail(name string, size int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, st.Size()-size)
	b := make([]byte, st.Size()-from)
	n, err := f.ReadAt(b, from)
	if err != nil && err != io.EOF {
		return "", err
	}
	text := string(b[:n])
	if from > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text, nil
}
