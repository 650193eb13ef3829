// Package deb knows Debian: .deb files, version order, changelogs and the CVEs
// they name, fetching packages with apt, and what is installed. System is the
// regular channel: what waits, and installing it without restarting anything.
//
// Everything inside a .deb is outside data: names, sizes, counts and nesting
// are bounded, and no entry is ever written outside the directory given.
//
// deb(5), deb-control(5), deb-changelog(5), deb-version(7).
package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Package is one .deb file.
type Package struct {
	Path                        string
	Name, Source, Version, Arch string
	Depends                     string
	SourceVersion               string // differs from Version for binNMUs

	data member // data.tar, as Open found it
}

// Open reads the control data of a .deb. Errors name the member and offset.
func Open(path string) (*Package, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	p, err := read(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	p.Path = path
	return p, nil
}

// read parses the outer archive and the control file.
func read(r io.ReaderAt, size int64) (*Package, error) {
	control, data, err := members(r, size)
	if err != nil {
		return nil, err
	}
	text, err := controlFile(r, control)
	if err != nil {
		return nil, err
	}
	p, err := parseControl(text)
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", control.name, err)
	}
	p.data = data
	return p, nil
}

// controlFile returns the file ./control of the control member.
func controlFile(r io.ReaderAt, m member) ([]byte, error) {
	t, err := openTar(r, m, maxControlTar)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	for {
		name, h, err := t.next()
		if err == io.EOF {
			return nil, fmt.Errorf("member %s: no control file in it", m.name)
		}
		if err != nil {
			return nil, err
		}
		if name != "/control" || h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Size > maxControl {
			return nil, fmt.Errorf("member %s: control file of %d bytes is too large", m.name, h.Size)
		}
		return t.content(h)
	}
}

// File is one regular file inside a package.
type File struct {
	Name string // absolute: "/usr/bin/redis-server"
	Mode fs.FileMode
	Data []byte
}

// headSize is how much of a file Walk shows to want, at most.
const headSize = 64

// ErrStop, returned by the function given to Walk, ends the walk without error.
var ErrStop = errors.New("walk stopped")

// Walk calls fn for every regular file of the package, in archive order, whose
// first bytes satisfy want (nil: all; head is at most 64 bytes, the whole file
// if it is shorter). A hard link is not a file of its own: its contents are
// seen once, under the first name. Sizes are bounded; decompression is
// streamed: gzip, xz, zstd, none.
func (p *Package) Walk(want func(name string, head []byte) bool, fn func(File) error) error {
	err := p.each(func(t *tarReader, name string, h *tar.Header) error {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		head, err := t.peek(h)
		if err != nil {
			return err
		}
		if want != nil && !want(name, head) {
			return nil
		}
		data, err := t.content(h)
		if err != nil {
			return err
		}
		return fn(File{Name: name, Mode: h.FileInfo().Mode(), Data: data})
	})
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// each visits all entries of data.tar with their names made safe.
func (p *Package) each(fn func(*tarReader, string, *tar.Header) error) error {
	f, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := openTar(f, p.data, maxTotal)
	if err != nil {
		return fmt.Errorf("read %s: %w", p.Path, err)
	}
	defer t.Close()
	for {
		name, h, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", p.Path, err)
		}
		if err := fn(t, name, h); err != nil {
			if errors.Is(err, ErrStop) {
				return err
			}
			return fmt.Errorf("read %s: %s: %w", p.Path, name, err)
		}
	}
}

// Extract writes all files, links and directories of the package below dir,
// which it makes, and never outside it. Owners, set-id bits and devices are
// left out; links keep the target the package gives them, but nothing is
// written through one that leads out of dir.
func (p *Package) Extract(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return p.each(func(t *tarReader, name string, h *tar.Header) error {
		return extract(root, t, name[1:], h)
	})
}

func extract(root *os.Root, t *tarReader, name string, h *tar.Header) error {
	if name == "" {
		return nil // the root itself
	}
	if h.Typeflag == tar.TypeDir {
		// Traversable and writable by us whatever the package says: we are
		// about to write below it, and someone has to be able to delete it.
		return root.MkdirAll(name, fs.FileMode(h.Mode)&0o777|0o700)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
	default:
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target, err := cleanName(h.Linkname)
		if err != nil {
			return fmt.Errorf("link target: %w", err)
		}
		return root.Link(target[1:], name)
	}
	// O_EXCL: Remove has just made room, so whatever is there now is not ours.
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode)&0o777|0o600)
	if err != nil {
		return err
	}
	if err := t.copyTo(f, h); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
