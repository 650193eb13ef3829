package scan

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"hotpatch/internal/proc"
)

// Kinds of a Root.
const (
	kindHost      = "host"
	kindContainer = "container"
	kindChroot    = "chroot"
)

// rootID is the directory that a process calls "/".
type rootID struct {
	dev, ino uint64
	mnt      string // mount namespace
}

// rootOf is a root and a process through which it can be reached.
type rootOf struct {
	name, kind string
	dir        string // /proc/PID/root
}

func (s *Scanner) host() (rootID, error) {
	dev, ino, err := inodeOf("/")
	if err != nil {
		return rootID{}, err
	}
	mnt, err := proc.Namespace(os.Getpid(), "mnt")
	return rootID{dev, ino, mnt}, err
}

// rootOf tells whose files a process sees. A mount namespace alone says
// nothing: systemd gives one to every service with PrivateTmp=, whose root is
// still the host's.
func (p *pass) rootOf(pid int, dir string) (rootOf, error) {
	dev, ino, err := inodeOf(dir + "/root/")
	if err != nil {
		return rootOf{}, err
	}
	r := rootOf{kind: kindHost, dir: dir + "/root"}
	if dev != p.host.dev || ino != p.host.ino {
		mnt, err := proc.Namespace(pid, "mnt")
		if err != nil {
			return rootOf{}, err
		}
		path, err := os.Readlink(dir + "/root")
		if err != nil {
			return rootOf{}, err
		}
		if mnt == p.host.mnt && path != "/" {
			r.kind, r.name = kindChroot, path
		} else {
			cgroup, err := os.ReadFile(dir + "/cgroup")
			if err != nil {
				return rootOf{}, err
			}
			r.kind, r.name = kindContainer, container(string(cgroup), mnt)
		}
	}
	p.mu.RLock()
	_, ok := p.roots[r.name]
	p.mu.RUnlock()
	if !ok {
		p.mu.Lock()
		if _, ok := p.roots[r.name]; !ok {
			p.roots[r.name] = r
		}
		p.mu.Unlock()
	}
	return r, nil
}

// container names one: the id that Docker, Podman, containerd or CRI-O put into
// the name of its cgroup, systemd-nspawn's machine, or its mount namespace.
func container(cgroup, mnt string) string {
	for line := range strings.Lines(cgroup) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			part = strings.TrimSuffix(strings.TrimSuffix(part, ".scope"), ".service")
			for _, prefix := range []string{"docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-"} {
				part = strings.TrimPrefix(part, prefix)
			}
			if name, ok := strings.CutPrefix(part, "machine-"); ok {
				return strings.ReplaceAll(name, `\x2d`, "-")
			}
			if len(part) == 64 && strings.Trim(part, "0123456789abcdef") == "" {
				return part[:12]
			}
		}
	}
	return mnt
}

func (p *pass) listRoots() []Root {
	out := []Root{}
	if _, ok := p.roots[""]; !ok {
		p.roots[""] = rootOf{kind: kindHost, dir: "/"}
	}
	for _, r := range p.roots {
		out = append(out, Root{Name: r.name, Kind: r.kind})
	}
	slices.SortFunc(out, func(a, b Root) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// fileKey is a state of a file: who changes it changes this.
type fileKey struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// onDisk is the build-id of a file in a root; elf says whether it is an ELF
// file with code, readable as such. No link in the root leads outside.
func (s *Scanner) onDisk(root, name string) (buildID string, elf bool, err error) {
	dir, err := os.Open(root)
	if err != nil {
		return "", false, err
	}
	defer dir.Close()
	return s.onDiskAt(int(dir.Fd()), name)
}

func (s *Scanner) onDiskAt(dir int, name string) (buildID string, elf bool, err error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", false, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", false, nil
	}
	k := fileKey{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}
	s.mu.RLock()
	known, ok := s.disk[k]
	s.mu.RUnlock()
	if ok {
		return known.buildID, known.elf, nil
	}
	// Through the descriptor: the name may lead elsewhere by now, and a device
	// or pipe must not be opened.
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	id, elf, err := proc.FileBuildID(f)
	if err != nil {
		return "", false, err
	}
	s.mu.Lock()
	s.disk[k] = found{id, elf}
	s.mu.Unlock()
	return id, elf, nil
}
