package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Reboot is what speaks for one.
type Reboot struct {
	// Required is the flag that packages set (/run/reboot-required), Packages
	// those that did.
	Required bool     `json:"required"`
	Packages []string `json:"packages,omitempty"`
	Kernel   Kernel   `json:"kernel"`
}

// Kernel compares the kernel that runs with those that are installed.
type Kernel struct {
	Release string `json:"release"`           // uname -r
	Version string `json:"version,omitempty"` // of its package; "": not one of the packages here
	Newest  string `json:"newest,omitempty"`  // release of the newest installed, which the next boot takes
	Next    string `json:"next,omitempty"`    // and its version
	Old     bool   `json:"old"`               // a newer one is installed than the one that runs
}

// Reboot reads what this host's packages say. On another Root it makes no
// sense: its processes run on this host's kernel.
func (s System) Reboot() (Reboot, error) {
	var r Reboot
	if _, err := os.Stat(s.file("/run/reboot-required")); err == nil {
		r.Required = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	f, err := s.Dpkg().open("/run/reboot-required.pkgs")
	if err == nil {
		r.Packages, err = parseNames(f)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("read who asks for a reboot: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return r, fmt.Errorf("read kernel version: %w", err)
	}
	all, err := s.Dpkg().Status()
	if err != nil {
		return r, err
	}
	r.Kernel = judgeKernel(unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), all)
	return r, nil
}

func parseNames(r io.Reader) ([]string, error) {
	var out []string
	s := bufio.NewScanner(&bounded{r: r, left: 1 << 20})
	for s.Scan() {
		if name := strings.TrimSpace(s.Text()); packageName().MatchString(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), s.Err()
}

// "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)"
var kernelVersion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`Debian ([0-9]\S*) \(`) })

// judgeKernel: the package linux-image-RELEASE has what RELEASE is. The same
// release may come in several versions: what runs says so in uname -v.
func judgeKernel(release, uname string, all []Installed) Kernel {
	const prefix = "linux-image-"
	k := Kernel{Release: release}
	for _, i := range all {
		rel, ok := strings.CutPrefix(i.Package, prefix)
		if !ok || rel == "" || !digit(rel[0]) || strings.HasSuffix(rel, "-dbg") || !i.Ready() {
			continue // not a kernel: a package that names the current one
		}
		rel = strings.TrimSuffix(rel, "-unsigned")
		if rel == release {
			k.Version = i.Version
		}
		if k.Newest == "" || newer(i.Version, k.Next) {
			k.Newest, k.Next = rel, i.Version
		}
	}
	if k.Version == "" {
		return Kernel{Release: release} // a container, or a kernel from elsewhere
	}
	if m := kernelVersion().FindStringSubmatch(uname); m != nil {
		if _, err := parseVersion(m[1]); err == nil {
			k.Version = m[1]
		}
	}
	k.Old = newer(k.Next, k.Version)
	return k
}
