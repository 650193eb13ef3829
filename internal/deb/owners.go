package deb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Owners says which package a program or library belongs to. Only files that
// can be mapped as code are in it: no documentation, headers, configuration.
type Owners struct {
	packages []Installed
	byPath   map[string]int32 // merged name → index in packages
	files    [][]string       // by package, merged names
}

// maxOwned bounds the files of one system; a full desktop has some 400,000.
const maxOwned = 4 << 20

// Owners reads dpkg's file lists.
func (d Dpkg) Owners() (*Owners, error) {
	all, err := d.Status()
	if err != nil {
		return nil, err
	}
	moved, err := d.diversions()
	if err != nil {
		return nil, err
	}
	o := &Owners{packages: all, byPath: make(map[string]int32, 64*len(all)), files: make([][]string, len(all))}
	left := maxOwned
	for n, i := range all {
		err := d.list(i, func(name string) error {
			if to, ok := moved[name]; ok && to.pkg != i.Package {
				name = to.name
			}
			if !mappable(name) {
				return nil
			}
			if left--; left < 0 {
				return fmt.Errorf("more than %d files", maxOwned)
			}
			name = merged(strings.Clone(name))
			o.byPath[name] = int32(n)
			o.files[n] = append(o.files[n], name)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read file list of %s: %w", i.Package, err)
		}
	}
	return o, nil
}

// list hands over the names in a package's list; the string is only good for the call.
func (d Dpkg) list(i Installed, fn func(string) error) error {
	err := d.readInfo(i.Package, i.Arch, ".list", func(r io.Reader) error { return parseList(r, fn) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil // being unpacked for the first time
	}
	return err
}

func parseList(r io.Reader, fn func(string) error) error {
	s := bufio.NewScanner(&bounded{r: r, left: 64 << 20})
	s.Buffer(make([]byte, 16<<10), 64<<10)
	for s.Scan() {
		if name := s.Text(); strings.HasPrefix(name, "/") {
			if err := fn(name); err != nil {
				return err
			}
		}
	}
	return s.Err()
}

// mappable says whether a file by that name may be mapped as code.
func mappable(name string) bool {
	for _, dir := range []string{"/usr/share/", "/usr/include/", "/usr/src/", "/etc/", "/boot/", "/lib/modules/", "/usr/lib/modules/", "/usr/lib/debug/"} {
		if strings.HasPrefix(name, dir) {
			return strings.HasPrefix(dir, "/usr/share/") && strings.Contains(name, ".so")
		}
	}
	for _, end := range []string{".py", ".pyc", ".h", ".a", ".o", ".js", ".mjs", ".ts", ".json", ".pm", ".pl", ".txt", ".gz", ".service", ".conf", ".la", ".go", ".rb", ".md", ".pc", ".cmake"} {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return true
}

// Packages are all packages, by name and architecture.
func (o *Owners) Packages() []Installed { return slices.Clone(o.packages) }

// Of is the package that a file belongs to.
func (o *Owners) Of(name string) (Installed, bool) {
	n, ok := o.byPath[merged(name)]
	if !ok {
		return Installed{}, false
	}
	return o.packages[n], true
}

// Files are names of a package's files and directories that may be programs or
// libraries, below /usr where /bin and /lib are links.
func (o *Owners) Files(i Installed) []string {
	n, ok := slices.BinarySearchFunc(o.packages, i, func(a, b Installed) int {
		if c := strings.Compare(a.Package, b.Package); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	if !ok {
		return nil
	}
	return o.files[n]
}

// Stamp changes whenever packages do: dpkg replaces its status file.
func (d Dpkg) Stamp() (string, error) {
	f, err := d.open("/var/lib/dpkg/status")
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	return fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Nsec), nil
}
