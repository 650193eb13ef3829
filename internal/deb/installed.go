package deb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/md5" //nolint:gosec // what dpkg keeps; it tells accidents, not attacks
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dpkg is a way of asking dpkg's files what is installed. The zero value is
// this host.
type Dpkg struct {
	Root string // of the file system; "" is "/"
}

func (d Dpkg) path(name string) string { return filepath.Join("/", d.Root, name) }

// ErrModified says that an installed file is not the package's.
var ErrModified = errors.New("the installed file differs from the package's")

// Installed are the packages that dpkg has installed.
func (d Dpkg) Installed() ([]Listed, error) {
	var out []Listed
	err := d.read("/var/lib/dpkg/status", func(r io.Reader) (err error) {
		out, err = collect(r, nil)
		return err
	})
	return out, err
}

// Repack writes a .deb of what is installed of pkg=version: its control data
// as far as this package needs it, and its ELF files, each checked against the
// digest that came with the package. It stands in for a version that the
// archive no longer has. Same files, same bytes.
func (d Dpkg) Repack(pkg, version, arch, path string) error {
	if err := d.repack(pkg, version, arch, path); err != nil {
		return errors.Join(fmt.Errorf("pack installed %s=%s: %w", pkg, version, err), removed(path))
	}
	return nil
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d Dpkg) repack(pkg, version, arch, path string) error {
	l, err := d.find(pkg, version, arch)
	if err != nil {
		return err
	}
	files, err := d.files(pkg, arch)
	if err != nil {
		return err
	}
	data, err := os.CreateTemp(filepath.Dir(path), ".data-")
	if err != nil {
		return err
	}
	defer os.Remove(data.Name())
	defer data.Close()
	if err := d.packFiles(data, files); err != nil {
		return err
	}
	var control bytes.Buffer
	text := fmt.Appendf(nil, "Package: %s\nSource: %s\nVersion: %s\nArchitecture: %s\n", l.Package, l.Source, l.Version, l.Arch)
	if err := packOne(&control, "./control", int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	size, err := data.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, "!<arch>\n")
	err = errors.Join(err,
		arMemberTo(out, "debian-binary", 4, strings.NewReader("2.0\n")),
		arMemberTo(out, "control.tar", int64(control.Len()), &control),
		arMemberTo(out, "data.tar", size, data))
	return errors.Join(err, out.Close())
}

// find is the entry of dpkg's status file.
func (d Dpkg) find(pkg, version, arch string) (Listed, error) {
	all, err := d.Installed()
	if err != nil {
		return Listed{}, err
	}
	for _, l := range all {
		if l.Package == pkg && l.Version == version && l.Arch == arch {
			return l, nil
		}
	}
	return Listed{}, errors.New("it is not installed")
}

// installedFile is one file of an installed package and its recorded digest.
type installedFile struct{ name, md5 string }

// files reads the digests that came with a package. They name all
// regular files but configuration.
func (d Dpkg) files(pkg, arch string) ([]installedFile, error) {
	var out []installedFile
	err := d.readInfo(pkg, arch, ".md5sums", func(r io.Reader) (err error) {
		out, err = parseMD5Sums(r)
		return err
	})
	return out, err
}

// parseMD5Sums reads lines "DIGEST  usr/bin/x".
func parseMD5Sums(r io.Reader) ([]installedFile, error) {
	s := bufio.NewScanner(&bounded{r: r, left: 256 << 20})
	var out []installedFile
	line := 0
	for s.Scan() {
		line++
		sum, name, ok := strings.Cut(s.Text(), " ")
		if b, err := hex.DecodeString(sum); !ok || err != nil || len(b) != md5.Size {
			return nil, fmt.Errorf("line %d: no digest and name", line)
		}
		name, err := cleanName(strings.TrimLeft(name, " *"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		out = append(out, installedFile{name, strings.ToLower(sum)})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line+1, err)
	}
	return out, nil
}

// packFiles writes the ELF files among them as a tar.
func (d Dpkg) packFiles(w io.Writer, files []installedFile) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := d.packFile(t, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return t.Close()
}

func (d Dpkg) packFile(t *tar.Writer, f installedFile) error {
	r, err := d.open(f.name)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(f.name, "/usr/share/") {
		return nil // no program: documentation that this host does without
	}
	if err != nil {
		return err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, 4)
	if n, err := io.ReadFull(r, head); err != nil || !st.Mode().IsRegular() || string(head[:n]) != "\x7fELF" {
		return nil
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := md5.New() //nolint:gosec // see above
	if err := tarMember(t, "."+f.name, st.Size(), io.TeeReader(r, h)); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != f.md5 {
		return ErrModified
	}
	return nil
}

func packOne(w io.Writer, name string, size int64, r io.Reader) error {
	t := tar.NewWriter(w)
	return errors.Join(tarMember(t, name, size, r), t.Close())
}

// tarMember writes one file, without owner and time.
func tarMember(t *tar.Writer, name string, size int64, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: size, Format: tar.FormatGNU}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}

// arMemberTo writes one member of the outer archive, deb(5).
func arMemberTo(w io.Writer, name string, size int64, r io.Reader) error {
	if _, err := fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, 0, 0, 0, 0o100644, size); err != nil {
		return err
	}
	n, err := io.Copy(w, r)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("member %s: %d bytes, not %d", name, n, size)
	}
	if size%2 == 1 {
		_, err = io.WriteString(w, "\n")
	}
	return err
}
