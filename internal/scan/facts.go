package scan

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
	"hotpatch/internal/proc"
)

// facts are what decides whether this host can be hotpatched at all.
func (s *Scanner) facts() (catalog.Facts, error) {
	h, err := proc.ReadHost()
	if err != nil {
		return catalog.Facts{}, err
	}
	r, err := proc.ReadRights(os.Getpid(), os.Getpid())
	if err != nil {
		return catalog.Facts{}, err
	}
	f := Judge(h, r)
	if f.Channel, err = s.channel(); err != nil {
		return f, err
	}
	f.Packages, f.Disk = s.judgePackages(), s.judgeDisk()
	return f, nil
}

// Linux 4.17 has MAP_FIXED_NOREPLACE.
const oldestMajor, oldestMinor = 4, 17

// Judge says what the host's settings and our own rights are in the way of.
func Judge(h proc.Host, r proc.Rights) catalog.Facts {
	f := catalog.Facts{Arch: runtime.GOARCH, Kernel: h.Release}
	if h.Machine != "x86_64" {
		f.Arch = h.Machine
	}
	major, minor, err := proc.ParseKernel(h.Release)
	if err == nil && (major < oldestMajor || major == oldestMajor && minor < oldestMinor) {
		f.Features = catalog.Probe{
			Found:  []string{fmt.Sprintf("Linux %s has no MAP_FIXED_NOREPLACE", h.Release)},
			Remedy: fmt.Sprintf("boot Linux %d.%d or later", oldestMajor, oldestMinor)}
	}
	f.Ptrace = judgePtrace(h, r)
	if r.Seccomp != 0 && !r.Has(proc.CapSysAdmin) {
		f.Seccomp = catalog.Probe{
			Found:  []string{"we run under a seccomp filter ourselves and have no CAP_SYS_ADMIN"},
			Remedy: "run the agent outside the container, or as its systemd unit"}
	}
	return f
}

func judgePtrace(h proc.Host, r proc.Rights) catalog.Probe {
	var p catalog.Probe
	add := func(remedy, format string, args ...any) {
		p.Found = append(p.Found, fmt.Sprintf(format, args...))
		if p.Remedy != "" {
			p.Remedy += "; "
		}
		p.Remedy += remedy
	}
	if !r.Has(proc.CapSysPtrace) {
		add("run the agent as root", "no CAP_SYS_PTRACE: processes of other users cannot be patched")
	}
	if h.Yama >= 3 {
		add("reboot with kernel.yama.ptrace_scope below 3: it cannot be lowered while the kernel runs", "kernel.yama.ptrace_scope is %d: nobody may trace", h.Yama)
	}
	if h.DenyPtrace {
		add("setsebool deny_ptrace off", "SELinux's deny_ptrace is on")
	}
	if h.ProcMem == "never" {
		add("boot without proc_mem.force_override=never", "the kernel was booted with proc_mem.force_override=never")
	}
	// A container with an agent of its own is a host to it: what it does not see
	// is not its to patch.
	return p
}

// channel is the distribution's release: VERSION_CODENAME of os-release(5).
func (s *Scanner) channel() (string, error) {
	b, err := os.ReadFile(filepath.Join("/", s.opt.Root, "etc/os-release"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return codename(b), nil
}

func codename(b []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			if v = strings.Trim(v, `"' `); len(v) <= 64 && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return v
			}
		}
	}
	return ""
}

func (s *Scanner) judgePackages() catalog.Probe {
	c, err := deb.Dpkg{Root: s.opt.Root}.Condition()
	if err != nil {
		return catalog.Probe{Found: []string{"dpkg's files cannot be read: " + err.Error()}, Remedy: "run the agent as root on a Debian system"}
	}
	var p catalog.Probe
	if c.Journal {
		p.Found = append(p.Found, "dpkg was interrupted or works at this moment")
	}
	for _, i := range c.Unfinished {
		p.Found = append(p.Found, fmt.Sprintf("%s is %s", i.Package, i.State))
	}
	if len(p.Found) > 0 {
		p.Remedy = "dpkg --configure -a"
	}
	return p
}

// leastFree is what an ordinary update needs at the least.
const leastFree = 64 << 20

func (s *Scanner) judgeDisk() catalog.Probe {
	var p catalog.Probe
	seen := map[unix.Fsid]bool{}
	for _, name := range []string{"/usr", "/var/lib/dpkg", "/var/cache/apt"} {
		path := filepath.Join("/", s.opt.Root, name)
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if errors.Is(err, unix.ENOENT) || err == nil && seen[st.Fsid] && st.Fsid != (unix.Fsid{}) {
			continue
		}
		seen[st.Fsid] = true
		switch free := st.Bavail * uint64(st.Bsize); {
		case err != nil:
			p.Found = append(p.Found, fmt.Sprintf("the file system of %s cannot be read: %v", name, err))
		case st.Flags&unix.ST_RDONLY != 0:
			p.Found = append(p.Found, fmt.Sprintf("%s is read-only", name))
		case free < leastFree:
			p.Found = append(p.Found, fmt.Sprintf("the file system of %s has %d MiB free", name, free>>20))
		}
	}
	if len(p.Found) > 0 {
		p.Remedy = "make room, or remount it writable; or choose memory-only"
	}
	return p
}

// booted is when the kernel started: "btime" of proc_stat(5).
func booted() (time.Time, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Unix(n, 0).UTC(), err
		}
	}
	return time.Time{}, errors.New("/proc/stat has no btime")
}
