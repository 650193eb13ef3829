package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"hotpatch/internal/deb"
)

// owned is what is known of one root's packages, as long as dpkg's files stay
// as they are.
type owned struct {
	stamp  string
	owners *deb.Owners
	elves  map[string][]string // ELF files by package name
}

// maxImages bounds the ELF files of one package; the largest of Debian 12 have
// some 2,000.
const maxImages = 20_000

// databases reads dpkg's files in every root. It returns the ways into those
// that have some.
func (s *Scanner) databases(p *pass, roots []Root) (map[string]string, error) {
	dirs := map[string]string{}
	for i := range roots {
		r := &roots[i]
		dir := filepath.Join("/", s.opt.Root)
		if r.Name != "" {
			dir = p.dirOf(r.Name)
		}
		_, err := s.ownersIn(r.Name, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			delete(s.owners, r.Name)
		case err != nil && r.Name == "":
			return nil, err
		case err != nil:
			r.Unknown = err.Error()
			delete(s.owners, r.Name)
		default:
			r.Debian = true
			dirs[r.Name] = dir
		}
	}
	for name := range s.owners {
		if _, ok := dirs[name]; !ok {
			delete(s.owners, name)
		}
	}
	return dirs, nil
}

// packages lists what is on disk.
func (s *Scanner) packages(ctx context.Context, dirs map[string]string, snap *Snapshot) error {
	type key struct{ root, name string }
	listed := map[key]bool{}
	for _, p := range snap.Processes {
		for _, l := range p.Images {
			listed[key{p.Root, l.Package}] = s.opt.Managed == nil
		}
	}
	for _, r := range snap.Roots {
		dir, ok := dirs[r.Name]
		if !ok {
			continue
		}
		list, err := s.list(ctx, r.Name, dir, func(name string) bool {
			return listed[key{r.Name, name}] || slices.Contains(s.opt.Managed, name)
		})
		if err != nil {
			return err
		}
		snap.Packages = append(snap.Packages, list...)
	}
	return nil
}

func (s *Scanner) ownersIn(name, dir string) (*owned, error) {
	d := deb.Dpkg{Root: dir}
	stamp, err := d.Stamp()
	if err != nil {
		return nil, err
	}
	if o := s.owners[name]; o != nil && o.stamp == stamp {
		return o, nil
	}
	owners, err := d.Owners()
	if err != nil {
		return nil, err
	}
	o := &owned{stamp: stamp, owners: owners, elves: map[string][]string{}}
	s.owners[name] = o
	return o, nil
}

func (s *Scanner) list(ctx context.Context, root, dir string, listed func(string) bool) ([]Package, error) {
	o := s.owners[root]
	at, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	var out []Package
	for _, i := range o.owners.Packages() {
		p := Package{Root: root, Name: i.Package, Arch: i.Arch, Version: i.Version, Source: i.Source,
			SourceVersion: i.SourceVersion, State: i.State, Held: i.Held}
		if listed(i.Package) {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if p.Images, err = s.imagesOf(int(at.Fd()), o, i); err != nil {
				return nil, fmt.Errorf("read files of %s: %w", i.Package, err)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// imagesOf lists the ELF files of a package that have a build-id. Which of its
// files are ELF files is found out once for a version.
func (s *Scanner) imagesOf(dir int, o *owned, i deb.Installed) ([]Image, error) {
	names, known := o.elves[i.Name()]
	if !known {
		names = o.owners.Files(i)
	}
	var out []Image
	var elves []string
	for _, name := range names {
		id, elf, err := s.onDisk(dir, name)
		if err != nil || !elf {
			continue // what is damaged or not there is no image that could be loaded
		}
		elves = append(elves, name)
		if id != "" && len(out) < maxImages {
			out = append(out, Image{name, id})
		}
	}
	if !known {
		o.elves[i.Name()] = elves
	}
	slices.SortFunc(out, func(a, b Image) int { return compare(a.Path, b.Path) })
	return slices.CompactFunc(out, func(a, b Image) bool { return a.Path == b.Path }), nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// attribute says of every image in memory which package it is of, and in which
// version where that is known: that of the disk when it is the file on disk,
// else by what the caller or a former scan knows of the build-id.
//
// It returns the files that got their names back.
func (s *Scanner) attribute(snap *Snapshot) (all []renamed) {
	for i := range snap.Processes {
		x := &snap.Processes[i]
		o := s.owners[x.Root]
		for n := range x.Images {
			l := &x.Images[n]
			if l.Path == mountedFile {
				if s.rename(l); x.Exe == mountedFile || x.Exe == mountedFile+deletedMark {
					x.Exe = l.Path
				}
				all = append(all, renamed{l, x.Root})
			}
			s.attributeOne(o, l)
		}
	}
	return all
}

// renamed is a file that got its name back.
type renamed struct {
	*Loaded
	root string
}

// mountedFile is the name of a file that was mounted by itself and has been
// replaced: with ExecPaths= systemd makes such mounts, and the name of a deleted
// file is told from its mount on.
const (
	mountedFile = "/"
	deletedMark = " (deleted)"
)

// rename gives such a file its name back, by what the caller knows of its
// build-id.
func (s *Scanner) rename(l *Loaded) {
	if s.opt.Known == nil || l.BuildID == "" {
		return
	}
	from, ok := s.opt.Known(l.BuildID)
	if !ok || from.Path == "" {
		return
	}
	l.Path = from.Path
}

// restart says what the next start of renamed files would load.
func restart(snap *Snapshot, all []renamed) {
	for _, r := range all {
		for _, p := range snap.Packages {
			for _, g := range p.Images {
				if p.Root == r.root && g.Path == r.Path {
					r.Next = g.BuildID
				}
			}
		}
	}
}

func (s *Scanner) attributeOne(o *owned, l *Loaded) {
	var owner deb.Installed
	ok := false
	if o != nil {
		if owner, ok = o.owners.Of(l.Path); ok {
			l.Package, l.Disk = owner.Package, owner.Version
		}
	}
	if ok && !l.Old() {
		l.Version = owner.Version
		if l.BuildID != "" {
			s.seen[l.BuildID] = Origin{Package: owner.Package, Version: owner.Version}
		}
		return
	}
	from, found := s.seen[l.BuildID]
	if s.opt.Known != nil && l.BuildID != "" {
		if k, ok := s.opt.Known(l.BuildID); ok {
			from, found = k, true
		}
	}
	if !found || l.BuildID == "" {
		return
	}
	// A new version may have files by other names: then only the build-id
	// tells the package.
	if !ok {
		l.Package = from.Package
		if o != nil {
			for _, i := range o.owners.Packages() {
				if i.Package == from.Package {
					l.Disk = i.Version
				}
			}
		}
	}
	if l.Package == from.Package {
		l.Version = from.Version
	}
}
