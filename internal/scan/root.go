package scan

import (
	"errors"
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

// rootOf is a root that is held open: its processes may end, and their numbers
// be given to others, while it is read.
type rootOf struct {
	name, kind string
	prefix     string // what maps puts before the names in it; "" for nothing
	fd         int    // O_PATH
}

// dir is a path that leads into the root.
func (r rootOf) dir() string { return fmt.Sprintf("/proc/self/fd/%d", r.fd) }

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
	if errors.Is(err, os.ErrNotExist) {
		return rootOf{}, errChanged // it has given up its root already: it ends
	}
	if err != nil {
		return rootOf{}, err
	}
	id := rootID{dev: dev, ino: ino}
	if dev != p.host.dev || ino != p.host.ino {
		if id.mnt, err = proc.Namespace(pid, "mnt"); err != nil {
			return rootOf{}, err
		}
	}
	p.mu.RLock()
	r, ok := p.roots[id]
	p.mu.RUnlock()
	if ok {
		return r, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.roots[id]; ok {
		return r, nil
	}
	if r, err = p.openRoot(id, dir); err != nil {
		return r, err
	}
	p.roots[id] = r
	return r, nil
}

func (p *pass) openRoot(id rootID, dir string) (rootOf, error) {
	r := rootOf{kind: kindHost}
	if id.mnt != "" {
		path, err := os.Readlink(dir + "/root")
		if err != nil {
			return r, err
		}
		if path != "/" {
			r.prefix = path
		}
		if id.mnt == p.host.mnt && path != "/" {
			r.kind, r.name = kindChroot, path
		} else {
			cgroup, err := os.ReadFile(dir + "/cgroup")
			if err != nil {
				return r, err
			}
			r.kind, r.name = kindContainer, container(string(cgroup), id.mnt)+r.prefix
		}
	}
	way := dir + "/root/"
	if r.kind == kindHost {
		way = "/" // without what a service's own mounts hide
	}
	var err error
	if r.fd, err = unix.Open(way, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return r, &fs.PathError{Op: "open", Path: way, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(r.fd, &st); err != nil || st.Dev != id.dev || st.Ino != id.ino {
		unix.Close(r.fd)
		return r, errChanged
	}
	return r, nil
}

func (p *pass) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.roots {
		unix.Close(r.fd)
	}
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

// listRoots lists them by name, the host's first, each name once: the same
// directory may be the root of several mount namespaces.
func (p *pass) listRoots() []Root {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := []Root{{Kind: kindHost}}
	for _, r := range p.roots {
		if r.name != "" && !slices.ContainsFunc(out, func(x Root) bool { return x.Name == r.name }) {
			out = append(out, Root{Name: r.name, Kind: r.kind})
		}
	}
	slices.SortFunc(out, func(a, b Root) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// dirOf leads into the root of that name.
func (p *pass) dirOf(name string) string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, r := range p.roots {
		if r.name == name {
			return r.dir()
		}
	}
	return ""
}

// fileKey is a state of a file: who changes it changes this.
type fileKey struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// onDisk is the build-id of a file in a root; elf says whether it is an x86-64
// ELF file. No link in the root leads outside.
func (s *Scanner) onDisk(dir int, name string) (buildID string, elf bool, err error) {
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
	// or pipe must not be opened. Nor is waited for who holds a lease on it.
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
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
