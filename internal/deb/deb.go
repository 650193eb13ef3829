// Package deb knows Debian: .deb files, version order, changelogs and the CVEs
// they name, and fetching packages with apt. It installs nothing here.
//
// deb(5), deb-changelog(5), deb-version(7).
package deb

import (
	"context"
	"errors"
	"io/fs"
)

var errTODO = errors.New("not built yet")

// Package is one .deb file.
type Package struct {
	Path                        string
	Name, Source, Version, Arch string
	Depends                     string
	SourceVersion               string // differs from Version for binNMUs
}

// Open reads the control data of a .deb. Errors name the member and offset.
func Open(path string) (*Package, error) { return nil, errTODO }

// File is one regular file inside a package.
type File struct {
	Name string // absolute: "/usr/bin/redis-server"
	Mode fs.FileMode
	Data []byte
}

// Walk calls fn for every regular file of the package, in archive order, whose
// first bytes satisfy want (nil: all). Sizes are bounded; decompression is
// streamed: gzip, xz, zstd, none.
func (p *Package) Walk(want func(name string, head []byte) bool, fn func(File) error) error {
	return errTODO
}

// Extract writes all files, links and directories of the package below dir and
// never outside it.
func (p *Package) Extract(dir string) error { return errTODO }

// Entry is one changelog entry.
type Entry struct {
	Source, Version, Distribution, Urgency string
	Changes                                []string // lines, without indentation
	Author, Date                           string
}

// Changelog reads the package's Debian changelog (usr/share/doc/NAME/changelog.Debian.gz).
// ErrNoChangelog when the package has none (a link to another package).
func (p *Package) Changelog() ([]Entry, error) { return nil, errTODO }

var ErrNoChangelog = errors.New("no changelog in the package")

// Between are the entries newer than base and not newer than fixed.
func Between(es []Entry, base, fixed string) []Entry { panic(errTODO) }

// CVEs are the CVE ids that the entries name, sorted, once each.
func CVEs(es []Entry) []string { panic(errTODO) }

// Compare orders two versions as dpkg does: <0, 0, >0.
func Compare(a, b string) (int, error) { return 0, errTODO }

// Offer is a version of a package that apt can fetch.
type Offer struct{ Package, Version, Suite, Component string }

// Offers lists what apt knows of a package (apt-cache madison), newest first.
func Offers(ctx context.Context, pkg string) ([]Offer, error) { return nil, errTODO }

// Download fetches pkg=version into dir with apt-get download and returns the
// file's path; a file already there is used again.
func Download(ctx context.Context, pkg, version, dir string) (string, error) { return "", errTODO }
