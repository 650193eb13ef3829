package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is what of the kernel and its settings decides whether processes can be
// patched at all, as this process sees it.
type Host struct {
	Release, Machine string // uname: "6.1.0-18-amd64", "x86_64"

	// ProcMem is the value of proc_mem.force_override on the kernel's command
	// line (always, ptrace, never), "" when it is not given; then the kernel's
	// own default holds (CONFIG_PROC_MEM_*).
	ProcMem string
	Yama    int    // kernel.yama.ptrace_scope; -1: the kernel has no Yama
	HidePID string // how /proc is mounted: off, noaccess, invisible, ptraceable

	SELinux    bool   // and enforcing
	DenyPtrace bool   // SELinux's boolean deny_ptrace is on
	AppArmor   bool   // is enabled
	Label      string // what a security module calls us; "" without one

	// In the first namespaces of the host? Elsewhere capabilities and process
	// numbers mean less.
	FirstUserNS, FirstPIDNS bool

	MaxMaps   int    // vm.max_map_count
	Available uint64 // bytes of memory that could be had (MemAvailable)
}

// The inode numbers of the host's first namespaces: include/linux/proc_ns.h,
// PROC_USER_INIT_INO and PROC_PID_INIT_INO.
const (
	firstUserNS = "user:[4026531837]"
	firstPIDNS  = "pid:[4026531836]"
)

// ReadHost reads the settings of the host. A setting that this kernel does not
// have is no error; one that cannot be read is.
func ReadHost() (Host, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Host{}, fmt.Errorf("read kernel version: %w", err)
	}
	h := Host{Release: unix.ByteSliceToString(u.Release[:]), Machine: unix.ByteSliceToString(u.Machine[:]), Yama: -1}
	for _, read := range []func() error{h.readKernel, h.readModules, h.readNamespaces, h.readMemory} {
		if err := read(); err != nil {
			return Host{}, err
		}
	}
	return h, nil
}

func (h *Host) readKernel() error {
	b, err := optional("/proc/cmdline")
	if err != nil {
		return err
	}
	h.ProcMem = ParseProcMem(b)
	if h.Yama, err = optionalNumber("/proc/sys/kernel/yama/ptrace_scope", -1); err != nil {
		return err
	}
	if b, err = os.ReadFile("/proc/self/mountinfo"); err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	h.HidePID, err = ParseHidePID(b)
	return err
}

// readModules asks the security modules. Their files are missing, empty or say
// EINVAL where a module is not in use.
func (h *Host) readModules() error {
	n, err := optionalNumber("/sys/fs/selinux/enforce", 0)
	if err != nil {
		return err
	}
	h.SELinux = n == 1
	b, err := optional("/sys/fs/selinux/booleans/deny_ptrace") // "current pending"
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	h.DenyPtrace = bytes.HasPrefix(b, []byte("1"))
	if b, err = optional("/sys/module/apparmor/parameters/enabled"); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	h.AppArmor = bytes.HasPrefix(b, []byte("Y"))
	h.Label, err = Label(os.Getpid())
	return err
}

func (h *Host) readNamespaces() error {
	user, err := Namespace(os.Getpid(), "user")
	if errors.Is(err, ErrGone) { // a kernel without them
		user, err = firstUserNS, nil
	}
	if err != nil {
		return err
	}
	pid, err := Namespace(os.Getpid(), "pid")
	if errors.Is(err, ErrGone) {
		pid, err = firstPIDNS, nil
	}
	h.FirstUserNS, h.FirstPIDNS = user == firstUserNS, pid == firstPIDNS
	return err
}

func (h *Host) readMemory() (err error) {
	if h.MaxMaps, err = optionalNumber("/proc/sys/vm/max_map_count", 0); err != nil {
		return err
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("read free memory: %w", err)
	}
	h.Available, err = kilobytes(b, "MemAvailable")
	return err
}

// Label is what a security module calls a process ("unconfined",
// "system_u:system_r:redis_t:s0"), "" where there is none.
func Label(pid int) (string, error) {
	b, err := slurp(unix.AT_FDCWD, path(pid, "attr/current"), make([]byte, 0, 4096))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", explain("read security label", pid, err)
	}
	return strings.TrimRight(string(b), "\x00\n"), nil
}

// MapFiles says why the files that a process maps cannot be opened through its
// mappings, nil when they can. It takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN;
// without it, files that were deleted or replaced on disk stay closed to us.
func MapFiles(pid int, m Module) error {
	if len(m.Maps) == 0 {
		return errors.New("open module: it has no mappings")
	}
	fd, err := byMapping(pid, m)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// optional reads a file that need not exist: then it is empty.
func optional(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read setting: %w", err)
	}
	return b, nil
}

func optionalNumber(name string, missing int) (int, error) {
	b, err := optional(name)
	if err != nil || b == nil {
		return missing, err
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

// ParseKernel is the version of a kernel release: 6, 1 of "6.1.0-18-amd64".
func ParseKernel(release string) (major, minor int, err error) {
	first, rest, _ := strings.Cut(release, ".")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	if major, err = strconv.Atoi(first); err == nil {
		minor, err = strconv.Atoi(rest)
	}
	if err != nil || major < 0 {
		return 0, 0, fmt.Errorf("kernel release %q has no version", release)
	}
	return major, minor, nil
}

// ParseProcMem is the last value of proc_mem.force_override on a kernel command
// line, "" when there is none. The kernel takes '-' and '_' for the same, and
// what stands behind "--" is not for it.
func ParseProcMem(cmdline []byte) string {
	value := ""
	for _, f := range strings.Fields(string(cmdline)) {
		if f == "--" {
			break
		}
		if k, v, ok := strings.Cut(f, "="); ok && strings.ReplaceAll(k, "-", "_") == "proc_mem.force_override" {
			value = strings.Trim(v, `"`)
		}
	}
	return value
}

// ParseHidePID says how /proc is mounted, from the text of a mountinfo file
// (proc_pid_mountinfo(5)): off, noaccess, invisible or ptraceable.
func ParseHidePID(mountinfo []byte) (string, error) {
	found := ""
	for line := range strings.Lines(string(mountinfo)) {
		f := strings.Fields(line)
		sep := -1
		for i := 6; i < len(f); i++ {
			if f[i] == "-" {
				sep = i
				break
			}
		}
		if sep < 0 || len(f) < sep+4 {
			return "", fmt.Errorf("mountinfo: %d fields in %q", len(f), line)
		}
		if f[4] != "/proc" || f[sep+1] != "proc" {
			continue
		}
		found = "off" // the last one mounted there covers the others
		for o := range strings.SplitSeq(f[sep+3], ",") {
			if v, ok := strings.CutPrefix(o, "hidepid="); ok {
				found = hidePIDName(v)
			}
		}
	}
	if found == "" {
		return "", errors.New("mountinfo: /proc is not mounted")
	}
	return found, nil
}

// hidePIDName gives numbers, which kernels before 5.8 print, their names.
func hidePIDName(v string) string {
	switch v {
	case "0":
		return "off"
	case "1":
		return "noaccess"
	case "2":
		return "invisible"
	case "4":
		return "ptraceable"
	}
	return v
}

// kilobytes is the number of bytes on the line "NAME: 123 kB".
func kilobytes(b []byte, name string) (uint64, error) {
	for line := range bytes.Lines(b) {
		v, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		f := bytes.Fields(v)
		if len(f) != 2 {
			return 0, fmt.Errorf("%s: %q is no size", name, v)
		}
		n, err := kB(f)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("no line %s", name)
}

// Runnable is how many threads of the host run or wait for a processor now, the
// one that asks included: the fourth field of /proc/loadavg, "1/80".
func Runnable() (int, error) {
	var arr [128]byte
	b, err := slurp(unix.AT_FDCWD, "/proc/loadavg", arr[:0])
	if err != nil {
		return 0, fmt.Errorf("read load: %w", err)
	}
	if f := bytes.Fields(b); len(f) > 3 {
		running, _, _ := bytes.Cut(f[3], []byte("/"))
		if n, err := strconv.Atoi(string(running)); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("read load: %q tells of no running threads", b)
}
