package deb

import (
	"bufio"
	"crypto/md5" //nolint:gosec // what dpkg keeps; it tells accidents, not attacks
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Check is what a comparison of a package's files with the digests that came
// with it found. Configuration files are not among them.
type Check struct {
	Files    int      `json:"files"` // compared and equal
	Modified []string `json:"modified,omitempty"`
	Missing  []string `json:"missing,omitempty"`
}

// OK says that every file is the package's.
func (c Check) OK() bool { return len(c.Modified) == 0 && len(c.Missing) == 0 }

// Verify compares the files of an installed package with its digests, through
// diversions. Files that dpkg was told not to install (path-exclude of
// dpkg.cfg(5)) may be missing; those of packages without digests are not known.
func (d Dpkg) Verify(pkg, arch string) (Check, error) {
	var c Check
	files, err := d.files(pkg, arch)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil // a package without files, or from before digests
	}
	if err != nil {
		return c, err
	}
	moved, err := d.diversions()
	if err != nil {
		return c, err
	}
	excluded, err := d.excludes()
	if err != nil {
		return c, err
	}
	for _, f := range files {
		name := f.name
		if to, ok := moved[name]; ok && to.pkg != pkg {
			name = to.name
		}
		sum, err := d.md5Of(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if !excluded(f.name) {
				c.Missing = append(c.Missing, f.name)
			}
		case err != nil:
			return c, err
		case sum != f.md5:
			c.Modified = append(c.Modified, f.name)
		default:
			c.Files++
		}
	}
	return c, nil
}

// open opens a file of the system; links in it lead nowhere outside Root.
func (d Dpkg) open(name string) (*os.File, error) {
	root, err := os.Open(d.path("/"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.path(name)), nil
}

// read opens a file of the system for one function. What this says of it is
// told with the name.
func (d Dpkg) read(name string, fn func(io.Reader) error) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fn(f); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}

// readInfo is read of what dpkg keeps of one package: PKG:ARCH.KIND where it
// may be there for several architectures, else PKG.KIND.
func (d Dpkg) readInfo(pkg, arch, kind string, fn func(io.Reader) error) error {
	const info = "/var/lib/dpkg/info/"
	err := d.read(info+pkg+":"+arch+kind, fn)
	if errors.Is(err, fs.ErrNotExist) {
		err = d.read(info+pkg+kind, fn)
	}
	return err
}

func (d Dpkg) md5Of(name string) (string, error) {
	f, err := d.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", nil // replaced by something else
	}
	h := md5.New() //nolint:gosec // see above
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// diversion: files of every package but pkg go elsewhere (dpkg-divert(1)).
type diversion struct{ name, pkg string }

func (d Dpkg) diversions() (map[string]diversion, error) {
	var out map[string]diversion
	err := d.read("/var/lib/dpkg/diversions", func(r io.Reader) (err error) {
		out, err = parseDiversions(r)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return out, err
}

// parseDiversions reads three lines for each: from, to, package (":" for none).
func parseDiversions(r io.Reader) (map[string]diversion, error) {
	out := map[string]diversion{}
	s := bufio.NewScanner(&bounded{r: r, left: 16 << 20})
	var three [3]string
	n := 0
	for s.Scan() {
		three[n%3] = s.Text()
		if n++; n%3 != 0 {
			continue
		}
		if !strings.HasPrefix(three[0], "/") || !strings.HasPrefix(three[1], "/") {
			return nil, fmt.Errorf("line %d: no absolute names", n-2)
		}
		out[three[0]] = diversion{three[1], three[2]}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if n%3 != 0 {
		return nil, fmt.Errorf("line %d: cut off", n)
	}
	return out, nil
}

// excludes reads path-exclude and path-include of dpkg's configuration: the
// last pattern that matches decides.
func (d Dpkg) excludes() (func(name string) bool, error) {
	names, err := filepath.Glob(d.path("/etc/dpkg/dpkg.cfg.d/*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var rules []rule
	for _, name := range append([]string{d.path("/etc/dpkg/dpkg.cfg")}, names...) {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rules = append(rules, parseRules(string(b))...)
	}
	return func(name string) bool {
		out := false
		for _, r := range rules {
			if matches(r.pattern, name) {
				out = r.exclude
			}
		}
		return out
	}, nil
}

type rule struct {
	exclude bool
	pattern string
}

func parseRules(text string) []rule {
	var out []rule
	for line := range strings.SplitSeq(text, "\n") {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			k, v, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		k, v = strings.TrimSpace(k), strings.Trim(strings.TrimSpace(v), `"'`)
		if ok && (k == "path-exclude" || k == "path-include") && len(v) <= 4096 {
			out = append(out, rule{k == "path-exclude", v})
		}
	}
	return out
}

// matches is fnmatch(3) without flags for '*' and '?': both match a slash too.
// Brackets are rare here and taken for themselves.
func matches(pattern, name string) bool {
	// The usual two pointers: on a mismatch, let the last star take one more.
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
